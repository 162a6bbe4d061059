"""Rows of a dump into a database that is in use: named tables beside it, or into its empty tables.

Everything happens in one transaction. No row that is there is touched.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.programs import Client
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.backup.material import Material
from iacalls_cli.operations.backup.restore import archive_script
from iacalls_cli.operations.backup.script import run_script
from iacalls_cli.operations.backup.surroundings import NAME, TIMEOUT, unquote
from iacalls_cli.operations.compression import read_chunks
from iacalls_cli.operations.db.sequences import MovedSequence, advance_sequences, move_sequence
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

QUALIFIED = rb"(" + NAME + rb")\.(" + NAME + rb")"
CREATE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE " + QUALIFIED + rb"(?= \()")
# COPY from stdin alone: a program or a file of the server is none of a dump's.
FILL = re.compile(rb"(?:COPY(?=\s.*\sFROM\s+stdin;\s*$)|INSERT INTO) " + QUALIFIED, re.DOTALL)
# A table that is not whole by itself: what it inherits is not in its own statement.
DEPENDENT = re.compile(rb"\n(INHERITS \(|PARTITION BY )")
SETVAL = re.compile(rb"SELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);\s*")
SETTINGS = (b"SET ", b"SELECT pg_catalog.set_config(")


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

    def takes(self, schema: str, name: str) -> bool:
        """Whether a table is wanted; remembers it if so."""
        is_wanted = not self.wanted or name in self.wanted or f"{schema}.{name}" in self.wanted
        if is_wanted:
            self.found[schema, name] = None
        return is_wanted

    def require_all(self, material: Material) -> None:
        """Raise `UsageError` for a wanted table that was not in the dump, `IacallsError` where there was none."""
        names = {name for schema, table in self.found for name in (table, f"{schema}.{table}")}
        if missing := [name for name in self.wanted if name not in names]:
            raise UsageError(f"{material.name} has no table {', '.join(missing)}", "write NAME or SCHEMA.NAME")
        if not self.found:
            raise IacallsError(
                f"{material.name} holds no rows of a table with its schema's name, nothing was changed",
                "dumps of very old servers leave that out; restore it with --into",
            )


def restore_beside(
    connection: Connection, client: Client, material: Material, archive: Path, tables: Iterable[str], side: str
) -> list[BroughtBack]:
    """Bring named tables back into a new schema `side`: columns and rows, without keys, indexes and triggers.

    All or nothing. Raises `UsageError` for a table that is not in the dump.
    """
    selection = Selection(tuple(tables))

    def rule(statement: bytes) -> bytes | None:
        for pattern in (CREATE, FILL):
            if match := pattern.match(statement):
                schema, name = unquote(match[1]), unquote(match[2])
                if not selection.takes(schema, name):
                    return None
                if pattern is CREATE and DEPENDENT.search(statement):
                    raise UsageError(
                        f"{relation_name(schema, name)} is partitioned or inherits from another table",
                        "name its partitions, or bring back the whole database with --into",
                    )
                moved = sql.Identifier(side, name).as_bytes(connection)
                return statement[: match.start(1)] + moved + statement[match.end() :]
        return statement if is_setting(statement) else None

    with database_errors(), connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(side)))
        run_script(connection, script_of(client, material, archive, selection.wanted), rule)
        selection.require_all(material)
        return [
            BroughtBack(relation_name(schema, name), f"{side}.{name}", count(connection, side, name))
            for schema, name in selection.found
        ]


def restore_rows(
    connection: Connection, client: Client, material: Material, archive: Path, tables: Iterable[str]
) -> tuple[list[BroughtBack], list[MovedSequence]]:
    """Fill empty tables with the rows of a dump; sequences only move forward.

    All or nothing. Raises `IacallsError` where a table is not empty, `UsageError` for one that is not in the dump.
    """
    selection = Selection(tuple(tables))
    deferred: list[tuple[sql.Identifier, sql.Identifier]] = []
    moves: list[tuple[str, int, bool]] = []

    def rule(statement: bytes) -> bytes | None:
        if match := FILL.match(statement):
            schema, name = unquote(match[1]), unquote(match[2])
            is_new = (schema, name) not in selection.found
            if not selection.takes(schema, name):
                return None
            if is_new:
                require_empty_table(connection, schema, name)
                deferred.extend(defer_keys(connection, schema, name))
            return statement
        if is_setting(statement):
            return statement
        # Sequences and large objects are of no table that could be named.
        if selection.wanted:
            return None
        if match := SETVAL.fullmatch(statement):
            moves.append((match[1].decode().replace("''", "'"), int(match[2]), match[3] == b"true"))
        return statement if statement.startswith(b"SELECT pg_catalog.lo") else None

    with database_errors(), connection.transaction():
        run_script(connection, script_of(client, material, archive, selection.wanted, "--data-only"), rule)
        selection.require_all(material)
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table, key in deferred:
            connection.execute(sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} NOT DEFERRABLE").format(table, key))
        for sequence, value, is_called in moves:
            move_sequence(connection, sequence, value, is_called=is_called)
        brought = [
            BroughtBack(relation_name(schema, name), relation_name(schema, name), count(connection, schema, name))
            for schema, name in selection.found
        ]
    return brought, advance_sequences(connection)


def is_setting(statement: bytes) -> bool:
    """Whether a statement only sets the session up, in a way every server knows."""
    return statement.startswith(SETTINGS) and not statement.startswith(TIMEOUT)


def script_of(
    client: Client, material: Material, archive: Path, tables: Iterable[str], *options: str
) -> Iterator[bytes]:
    """The SQL of a dump; of an archive that of the wanted tables only."""
    if not material.is_archive:
        return read_chunks(archive)
    # SCHEMA.NAME, or a name with a point in it.
    names = {part for name in tables for part in (name, name.split(".", 1)[-1])}
    chosen = [f"--table={name}" for name in sorted(names)]
    return archive_script(client, archive, *options, *chosen)


def require_empty_table(connection: Connection, schema: str, name: str) -> None:
    """Raise `IacallsError` where a table holds rows, or is not there."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM ONLY {})").format(sql.Identifier(schema, name))
    row = connection.execute(query).fetchone()
    if row is None or row[0]:
        raise IacallsError(
            f"the table {relation_name(schema, name)} is not empty, nothing was changed",
            "--table TABLE without --data-only brings the rows back into a schema of their own",
        )


def defer_keys(connection: Connection, schema: str, name: str) -> list[tuple[sql.Identifier, sql.Identifier]]:
    """Let a table's foreign keys be checked when all rows are there: a whole dump does not come in their order.

    Returns tables and keys, to be set back within the same transaction.
    """
    keys = []
    for row in fetch(connection, load_query("backup/undeferred-keys"), {"schema": schema, "name": name}):
        table, key = sql.Identifier(schema, name), sql.Identifier(row["key"])
        statement = sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY DEFERRED")
        connection.execute(statement.format(table, key))
        keys.append((table, key))
    return keys


def count(connection: Connection, schema: str, name: str) -> int:
    """A table's rows."""
    row = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, name))).fetchone()
    return int(row[0]) if row else 0
