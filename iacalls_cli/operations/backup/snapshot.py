"""What a backup has to know of the live database: rights beforehand, then one snapshot for all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import describe, fetch
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.manifest import TableRows
from iacalls_cli.operations.db.row_count import count_rows
from iacalls_cli.operations.maintain.locks import BLOCKING_READS, find_lock_holders
from iacalls_cli.queries import load_query, load_topic
from iacalls_cli.text import relation_name

NAMED_RELATIONS = 5
LOCKED_AT_ONCE = 500


@dataclass(frozen=True)
class Relation:
    """A relation pg_dump reads or locks. `lacking` is the right the role lacks on it, or None."""

    schema: str
    name: str
    kind: str
    bytes: int
    has_rows: bool
    lacking: str | None

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)


@dataclass(frozen=True)
class Source:
    """The database that is backed up: facts for the manifest, and its relations."""

    facts: dict[str, Any]
    relations: tuple[Relation, ...]

    @property
    def data_bytes(self) -> int:
        """What the dumped tables take on the server's disk, indexes apart."""
        return sum(relation.bytes for relation in self.relations if relation.has_rows)

    @property
    def tables(self) -> tuple[Relation, ...]:
        """The relations whose rows are dumped."""
        return tuple(relation for relation in self.relations if relation.has_rows)


def read_source(connection: Connection) -> Source:
    """The facts and relations of the database of a session; raises `DatabaseError`."""
    facts = fetch(connection, load_query("backup/database"))[0]
    relations = (Relation(**row) for row in fetch(connection, load_query("backup/relations")))
    return Source(facts, tuple(relations))


def require_privileges(source: Source, role: str) -> None:
    """Raise `DatabaseError` naming every kind of right that the role lacks for a dump, and where."""
    lacking = [relation for relation in source.relations if relation.lacking]
    if not lacking:
        return
    named = ", ".join(f"{relation.lacking} on {relation.kind} {relation}" for relation in lacking[:NAMED_RELATIONS])
    hint = f"back up as the tables' owner, or: GRANT pg_read_all_data TO {role} (PostgreSQL 14 and newer)"
    if any(relation.lacking == "BYPASSRLS" for relation in lacking):
        hint = (
            f"row security would hide rows: ALTER ROLE {role} BYPASSRLS; or, where {role} owns the table, "
            "ALTER TABLE … NO FORCE ROW LEVEL SECURITY"
        )
    more = f" and {len(lacking) - NAMED_RELATIONS} more" if len(lacking) > NAMED_RELATIONS else ""
    raise DatabaseError(
        f"the role {role} cannot dump {source.facts['name']}: it lacks {named}{more}",
        hint,
        INSUFFICIENT_PRIVILEGE,
    )


@contextmanager
def named_lock_waits(connection: Connection, lock_wait: str) -> Iterator[None]:
    """Turn a wait for a table that was too long, ours or pg_dump's, into an error that says who holds what."""
    try:
        yield
    except IacallsError as error:
        # pg_dump limits only its wait for locks, and no other statement.
        if error.sqlstate != LOCK_NOT_AVAILABLE and "canceling statement due to statement timeout" not in error.message:
            raise
        held = ", ".join(
            f"{relation_name(row['schema'], row['relation'])} "
            f"({'prepared transaction' if row['is_prepared'] else 'session'} {row['holder']}, {row['application']})"
            for row in find_lock_holders(connection, BLOCKING_READS)[:NAMED_RELATIONS]
        )
        raise DatabaseError(
            f"waited {lock_wait} for a table that another session locks"
            + (f": {held}" if held else ", which has ended meanwhile"),
            "`iacalls monitor connections` shows that session; [backup] lock_wait in the config file sets the wait",
            LOCK_NOT_AVAILABLE,
        ) from None


@contextmanager
def exported_snapshot(connection: Connection, lock_wait: str) -> Iterator[tuple[str, Any]]:
    """A transaction whose snapshot other sessions may share; yields the snapshot's name and moment.

    It stays open for as long as the block.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for name, value in (
            ("idle_in_transaction_session_timeout", "0"),
            ("statement_timeout", "0"),
            ("transaction_timeout", "0"),  # PostgreSQL 17 and newer
            ("lock_timeout", lock_wait),
            ("row_security", "off"),
        ):
            connection.execute("SELECT set_config(name, %s, true) FROM pg_settings WHERE name = %s", [value, name])
        row = fetch(connection, load_query("backup/export-snapshot"))[0]
        yield row["snapshot"], row["taken"]


def lock_tables(connection: Connection, source: Source) -> None:
    """Keep tables from being emptied or dropped until the transaction ends, as pg_dump does with its own locks.

    Without it, a TRUNCATE that waits for pg_dump would come between that and a count of rows.
    """
    tables = [sql.Identifier(table.schema, table.name) for table in source.tables]
    for start in range(0, len(tables), LOCKED_AT_ONCE):
        some = sql.SQL(", ONLY ").join(tables[start : start + LOCKED_AT_ONCE])
        connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(some))


def count_table(connection: Connection, relation: Relation) -> TableRows:
    """A table's rows in the session's snapshot; raises `DatabaseError` where they cannot be counted."""
    counted = count_rows(connection, relation.schema, relation.name)
    if counted.rows is None:
        raise DatabaseError(f"the rows of {relation} cannot be counted: {counted.reason}")
    return TableRows(relation.schema, relation.name, counted.rows, relation.bytes)


def migration_head(connection: Connection, source: Source) -> str | None:
    """The last applied migration, where migrations are recorded as dbmate does."""
    if not source.facts["has_migrations"]:
        return None
    try:
        with connection.transaction():
            row = connection.execute("SELECT max(version)::text FROM public.schema_migrations").fetchone()
    except DatabaseError:  # another tool's table of that name
        return None
    return row[0] if row else None


def working_reports(connection: Connection) -> tuple[str, ...]:
    """The built-in reports that this database can run: a restored copy must run them too."""
    names = []
    for query in load_topic("report"):
        try:
            with connection.transaction():
                describe(connection, query)
        except DatabaseError:
            continue
        names.append(query.name.removeprefix("report/"))
    return tuple(names)


def copied_rows(connection: Connection, application: str) -> dict[tuple[str, str], int]:
    """How many rows the dump's sessions have copied of the tables they are at."""
    # Within a transaction the server would show what it showed at first.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = fetch(connection, load_query("backup/copy-progress"), {"application": application})
    return {(row["schema"], row["name"]): row["rows"] for row in rows}
