"""Rows of a dump into a database that is in use: named tables beside it, or into its empty tables.

Everything happens in one transaction. No row that is there is touched. Of the dump only rows,
sequence positions and large objects are run, and for tables beside the live ones CREATE TABLE.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from itertools import count as count_from
from pathlib import Path

from psycopg import sql

from iacalls_cli.database.connection import SAFE_PATH, Connection
from iacalls_cli.database.extended import python_encoding, text_encoding
from iacalls_cli.database.programs import Client
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import APPLICATION_PATH
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE
from iacalls_cli.errors import DatabaseError, IacallsError, UsageError
from iacalls_cli.operations.backup.contents import (
    archive_script,
    entries_as_text,
    entries_head,
    read_contents,
    read_encoding,
)
from iacalls_cli.operations.backup.dump_file import Dump
from iacalls_cli.operations.backup.dump_filter import not_of_a_dump
from iacalls_cli.operations.backup.forms import CALL_OF, is_copy_from_stdin, is_insert_of_values, is_of_one_object
from iacalls_cli.operations.backup.run_script import read_statement, run_script
from iacalls_cli.operations.backup.statement import Statement, find_word
from iacalls_cli.operations.compression import read_chunks
from iacalls_cli.operations.db.sequences import find_behind, move_sequence
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

SETVAL = re.compile(rb"SELECT (?:pg_catalog\.)?setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);\s*")
# How a script's text is to be read. Everything else a session of ours has its own of: the path above
# all, in which somebody else's operators may stand.
READING = ("client_encoding", "standard_conforming_strings", "escape_string_warning")
LARGE_OBJECT_CALLS = (b"lo_create", b"lo_creat", b"lo_open", b"lowrite", b"lo_close")
# A trigger's or rule's state, and how to give it back.
Change = tuple[bytes, sql.Composed]
ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


@dataclass(frozen=True)
class BroughtBack:
    """A table whose rows were brought back, and where they are now."""

    table: str
    into: str
    rows: int


@dataclass
class Selection:
    """The tables that are wanted, as they were typed: `name` or `schema.name`; empty for all."""

    wanted: tuple[str, ...]
    found: dict[tuple[str, str], None] = field(default_factory=dict)

    def is_wanted(self, schema: str, name: str) -> bool:
        """Whether a table is wanted."""
        return not self.wanted or name in self.wanted or f"{schema}.{name}" in self.wanted

    def takes(self, schema: str, name: str) -> bool:
        """Whether a table is wanted; remembers it if so."""
        if self.is_wanted(schema, name):
            self.found[schema, name] = None
            return True
        return False

    def require_all(self, dump: Dump) -> None:
        """Raise `UsageError` for a wanted table that was not in the dump, `IacallsError` where there was none."""
        names = {name for schema, table in self.found for name in (table, f"{schema}.{table}")}
        if missing := [name for name in self.wanted if name not in names]:
            raise UsageError(f"{dump.name} has no table {', '.join(missing)}", "write NAME or SCHEMA.NAME")
        if not self.found:
            raise IacallsError(
                f"{dump.name} holds no rows of a table with its schema's name, nothing was changed",
                "dumps of very old servers leave that out; restore it with --into",
            )


def free_schema(connection: Connection, name: str) -> str:
    """Return a name that no schema has: `name`, or with a number where another restore took it this second."""
    taken = {row["name"] for row in fetch(connection, load_query("backup/schemas"), {"prefix": name})}
    names = chain((name,), (f"{name}_{number}" for number in count_from(2)))
    return next(one for one in names if one not in taken)


def restore_beside(
    connection: Connection, client: Client, dump: Dump, archive: Path, tables: Iterable[str], side: str
) -> list[BroughtBack]:
    """Bring named tables back into a new schema `side`: columns and rows, without keys, indexes and triggers.

    All or nothing. Raises `UsageError` for a table that is not in the dump.
    """
    selection, filling = Selection(tuple(tables)), Filling()

    def apply(text: bytes) -> bytes | None:
        filling.stop(connection)
        statement = read_statement(connection, text)
        is_table = statement.command == "CREATE" and statement.kind == "TABLE"
        if is_table or is_rows(statement):
            tokens = statement.object_tokens if is_table else statement.target_tokens
            names = statement.identifiers if is_table else statement.target_identifiers
            if len(names) != 2 or not selection.takes(*names):
                return None
            if is_table:
                if not is_of_one_object(statement):
                    raise not_of_a_dump(statement)
                require_whole(statement)
            else:
                filling.start(connection, names)
            moved = sql.Identifier(side, names[1]).as_bytes(connection)
            start, end = tokens[0].end - len(tokens[0].text), tokens[2].end
            return statement.text[:start] + moved + statement.text[end:]
        return reading_of(connection, statement) if is_reading(statement) else None

    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(side)))
        run_script(connection, script_of(client, dump, archive, selection.wanted), apply)
        filling.stop(connection)
        selection.require_all(dump)
        return [
            BroughtBack(relation_name(schema, name), f"{side}.{name}", count(connection, side, name))
            for schema, name in selection.found
        ]


def require_whole(statement: Statement) -> None:
    """Raise `UsageError` for a table that is not whole by itself: what it inherits is not in its own statement."""
    tokens = list(statement.tokens())
    words = [find_word(tokens, word) for word in ("INHERITS", "PARTITION", "OF")]
    if any(place is not None for place in words):
        raise UsageError(
            f"{relation_name(*statement.identifiers)} is partitioned, typed, or inherits from another table",
            "name its partitions, or bring back the whole database with --into",
        )


def restore_rows(
    connection: Connection, client: Client, dump: Dump, archive: Path, tables: Iterable[str]
) -> tuple[list[BroughtBack], list[str]]:
    """Fill empty tables with the rows of a dump; sequences only move forward, to where the dump says.

    All or nothing. The tables' own triggers and rules do not act: the rows come back as they were.
    Raises `IacallsError` where a table is not empty, where its triggers cannot be disabled, or where
    the rows are not as many as the manifest says; `UsageError` for a table that is not in the dump.
    Returns the tables, and what is to be said of their sequences.
    """
    selection = Selection(tuple(tables))
    undo: dict[bytes, sql.Composed] = {}
    moves: list[tuple[str, int, bool]] = []
    notes: list[str] = []
    filling, filled = Filling(), set[tuple[str, ...]]()

    def apply(text: bytes) -> bytes | None:
        statement = read_statement(connection, text)
        names = statement.target_identifiers if is_rows(statement) else ()
        if names and names == filling.table:
            return text
        filling.stop(connection)
        if is_rows(statement):
            if len(names) != 2 or not selection.takes(*names):
                return None
            if names not in filled:
                filled.add(names)
                undo.update(prepare_table(connection, *names))
            filling.start(connection, names)
            return text
        if is_reading(statement):
            return reading_of(connection, statement)
        if match := SETVAL.fullmatch(text):
            moves.append(
                (match[1].decode(text_encoding(connection)).replace("''", "'"), int(match[2]), match[3] == b"true")
            )
            return None
        call = CALL_OF.fullmatch(text)
        # Large objects are of no table that could be named.
        return text if call and call["function"] in LARGE_OBJECT_CALLS and not selection.wanted else None

    with connection.transaction():
        run_script(connection, script_of(client, dump, archive, selection.wanted, "--data-only"), apply)
        filling.stop(connection)
        selection.require_all(dump)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for statement in undo.values():
            connection.execute(statement)
        moves += listed_moves(connection, client, dump, archive, selection)
        for sequence, value, is_called in moves:
            if is_of_selection(connection, sequence, selection) and move_sequence(
                connection, sequence, value, is_called=is_called
            ):
                notes.append(f"the sequence {sequence} was moved forward to {value}")
        brought = [
            BroughtBack(relation_name(schema, name), relation_name(schema, name), count(connection, schema, name))
            for schema, name in selection.found
        ]
        require_as_many(dump, selection, brought)
        notes += [
            f"the next insert may fail: {sequence}"
            for sequence in find_behind(connection)
            if sequence.table in selection.found
        ]
    return brought, notes


def is_rows(statement: Statement) -> bool:
    """Whether a statement fills a table with rows of the script.

    Raises `UsageError` for an INSERT of anything but constants: it would run code in a database in use.
    """
    if statement.command == "INSERT" and not is_insert_of_values(statement):
        raise not_of_a_dump(statement)
    return statement.command == "INSERT" or (statement.command == "COPY" and is_copy_from_stdin(statement))


def is_reading(statement: Statement) -> bool:
    """Whether a statement only says how the script's text is to be read."""
    if statement.command != "SET":
        return False
    tokens = list(statement.tokens())
    return len(tokens) > 1 and tokens[1].word.lower() in READING


def reading_of(connection: Connection, statement: Statement) -> bytes:
    """Return how the script's text is to be read: bytes in SQL_ASCII are checked as text of the database's encoding.

    The server would take them unseen.
    """
    if b"client_encoding" in statement.text and b"SQL_ASCII" in statement.text.upper():
        return b"SET client_encoding = '%s';" % (connection.pgconn.parameter_status(b"server_encoding") or b"UTF8")
    return statement.text


def listed_moves(
    connection: Connection, client: Client, dump: Dump, archive: Path, selection: Selection
) -> list[tuple[str, int, bool]]:
    """Return the positions of sequences in an archive of which only some tables are wanted.

    pg_restore --table leaves them out.
    """
    if not dump.is_archive or not selection.wanted:
        return []
    entries = [entry for entry in read_contents(client, archive, "data") if entry.kind == "SEQUENCE SET"]
    text = b"".join(entries_as_text(client, archive, entries))
    return [
        (match[1].decode(text_encoding(connection)).replace("''", "'"), int(match[2]), match[3] == b"true")
        for match in SETVAL.finditer(text)
    ]


def is_of_selection(connection: Connection, sequence: str, selection: Selection) -> bool:
    """Whether a sequence feeds a table that was filled, or no table at all where all were wanted."""
    fed = fetch(connection, load_query("backup/fed-tables"), {"name": sequence})
    if not fed:
        return not selection.wanted
    return any((row["schema"], row["name"]) in selection.found for row in fed) or not selection.wanted


def script_of(client: Client, dump: Dump, archive: Path, tables: Iterable[str], *options: str) -> Iterator[bytes]:
    """Return the SQL of a dump; of an archive that of the wanted tables only."""
    if not dump.is_archive:
        return read_chunks(archive)
    # SCHEMA.NAME, either with points in it.
    names = {name[start:] for name in tables for start in (0, *(at + 1 for at, sign in enumerate(name) if sign == "."))}
    codec = python_encoding(read_encoding(entries_head(client, archive)))
    selected = [b"--table=" + name.encode(codec, "replace") for name in sorted(names)]
    return archive_script(client, archive, *options, *selected)


@dataclass
class Filling:
    """The table whose rows are coming: for so long its functions find names as they do for the application."""

    table: tuple[str, ...] = ()

    def start(self, connection: Connection, table: tuple[str, ...]) -> None:
        """Have the application's search_path."""
        connection.execute(APPLICATION_PATH)
        self.table = table

    def stop(self, connection: Connection) -> None:
        """Have our own search_path again, before any statement of ours."""
        if self.table:
            connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", [SAFE_PATH])
            self.table = ()


def prepare_table(connection: Connection, schema: str, name: str) -> Iterator[Change]:
    """See that a table is empty, defer its keys and disable its triggers and rules; those of its partitions too.

    Yields what was changed, and the statement that changes it back.
    """
    parts = fetch(connection, load_query("backup/partitions"), {"schema": schema, "name": name})
    for row in parts or [{"schema": schema, "name": name, "is_partitioned": False}]:
        if not row["is_partitioned"]:
            require_empty_table(connection, row["schema"], row["name"])
        yield from defer_keys(connection, row["schema"], row["name"])
        yield from disable_hooks(connection, row["schema"], row["name"])


def require_empty_table(connection: Connection, schema: str, name: str) -> None:
    """Raise `IacallsError` where a table holds rows, where that cannot be seen, or where it is not there."""
    with connection.transaction():
        connection.execute("SET LOCAL row_security = off")
        query = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(schema, name))
        try:
            row = connection.execute(query).fetchone()
        except DatabaseError as error:
            if error.sqlstate != INSUFFICIENT_PRIVILEGE or "row-level security" not in error.message:
                raise
            raise DatabaseError(
                f"row security of {relation_name(schema, name)} applies to this role: is it empty?",
                "use a role with BYPASSRLS; or, as the table's owner, ALTER TABLE … NO FORCE ROW LEVEL SECURITY",
                INSUFFICIENT_PRIVILEGE,
            ) from None
    if row is None or row[0]:
        raise IacallsError(
            f"the table {relation_name(schema, name)} is not empty, nothing was changed",
            "--table TABLE without --data-only brings the rows back into a schema of their own",
        )


def defer_keys(connection: Connection, schema: str, name: str) -> Iterator[Change]:
    """Let a table's foreign keys be checked when all rows are there: a whole dump does not come in their order.

    Yields what was changed and the statement that changes it back within the same transaction. A
    partition's keys are changed on the table that they belong to.
    """
    for row in fetch(connection, load_query("backup/undeferred-keys"), {"schema": schema, "name": name}):
        table, key = sql.Identifier(row["schema"], row["name"]), sql.Identifier(row["key"])
        alter = sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} ").format(table, key)
        connection.execute(alter + sql.SQL("DEFERRABLE INITIALLY DEFERRED"))
        yield alter.as_bytes(connection), alter + sql.SQL("NOT DEFERRABLE")


def disable_hooks(connection: Connection, schema: str, name: str) -> Iterator[Change]:
    """Disable the triggers and rules that act on inserted rows, as `--disable-triggers` of pg_dump does.

    Yields each and the statement that enables it again as it was. Raises `DatabaseError` naming them
    where the role may not.
    """
    hooks = fetch(connection, load_query("backup/insert-hooks"), {"schema": schema, "name": name})
    table = sql.Identifier(schema, name)
    for row in hooks:
        hook = sql.SQL(" {} {}").format(sql.SQL(row["kind"]), sql.Identifier(row["name"]))
        alter = sql.SQL("ALTER TABLE {} ").format(table)
        try:
            connection.execute(alter + sql.SQL("DISABLE") + hook)
        except DatabaseError as error:
            if error.sqlstate != INSUFFICIENT_PRIVILEGE:
                raise
            named = ", ".join(f"{one['kind'].lower()} {one['name']}" for one in hooks)
            raise DatabaseError(
                f"{relation_name(schema, name)} has {named}, which would change or copy the rows that come back",
                "only the table's owner may disable them: connect as the owner",
                INSUFFICIENT_PRIVILEGE,
            ) from None
        yield (alter + hook).as_bytes(connection), alter + sql.SQL(ENABLE[row["state"]]) + hook


def require_as_many(dump: Dump, selection: Selection, brought: list[BroughtBack]) -> None:
    """Raise `IacallsError` where a table has not as many rows as the manifest says."""
    if dump.manifest is None:
        return
    wanted = {(table.schema, table.name): table.rows for table in dump.manifest.tables}
    wrong = [
        f"{table.table} has {table.rows:,} rows, and had {wanted[key]:,}"
        for key, table in zip(selection.found, brought, strict=True)
        if wanted.get(key, table.rows) != table.rows
    ]
    if wrong:
        raise IacallsError(f"the rows are not those of the backup, nothing was changed: {'; '.join(wrong)}")


def count(connection: Connection, schema: str, name: str) -> int:
    """Return a table's rows, those of its partitions included."""
    total = 0
    for row in fetch(connection, load_query("backup/partitions"), {"schema": schema, "name": name}):
        if not row["is_partitioned"]:
            query = sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}")
            found = connection.execute(query.format(sql.Identifier(row["schema"], row["name"]))).fetchone()
            total += int(found[0]) if found else 0
    return total
