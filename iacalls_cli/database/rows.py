"""Rows as PostgreSQL writes them: text in, text out, nothing converted on the way."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import sql
from psycopg.adapt import AdaptersMap
from psycopg.types.string import TextLoader

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import translate
from iacalls_cli.database.search_path import application_path
from iacalls_cli.database.sqlstates import UNDEFINED
from iacalls_cli.errors import DatabaseError
from iacalls_cli.queries import Query, load_query
from iacalls_cli.table import Column, Table

CHUNK_ROWS = 1000
NUMBER_TYPES = ("int2", "int4", "int8", "float4", "float8", "numeric", "oid")


def stream(connection: Connection, query: Query, values: Mapping[str, Any]) -> Table:
    """Run a query and hand over its rows as they come, in constant memory.

    A server-side cursor would do the same and forbid the server parallel plans. If the planner
    meets a function that finds its names by search_path (of an index, a view), the query runs with
    the application's path, provided that no stranger can have put anything into it. Raises
    `DatabaseError` or `ConnectionFailed`, at the call or while reading.
    """
    try:
        return start_stream(connection, query, values)
    except DatabaseError as error:
        if error.sqlstate not in UNDEFINED or not trust_application_path(connection):
            raise
    return start_stream(connection, query, values)


def trust_application_path(connection: Connection) -> bool:
    """Put the application's search_path behind pg_catalog if only superusers and this role have a hand in it."""
    with connection.transaction(force_rollback=True), application_path(connection):
        row = connection.execute("SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]").fetchone()
    schemas = [name for name in (row[0] if row else []) if name != "pg_catalog"]
    if not fetch(connection, load_query("db/path-trust"), {"schemas": json.dumps(schemas)})[0]["is_trusted"]:
        return False
    path = sql.SQL(", ").join(map(sql.Identifier, ("pg_catalog", *schemas, "pg_temp"))).as_string(connection)
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [path])
    return True


def start_stream(connection: Connection, query: Query, values: Mapping[str, Any]) -> Table:
    """Run a query up to its first row."""
    cursor = psycopg.RawCursor(connection)
    replace_loaders(cursor.adapters)
    size = CHUNK_ROWS if psycopg.capabilities.has_stream_chunked() else 1
    rows = cursor.stream(query.statement, query.arguments(values), size=size)
    first = next(rows, None)
    if first is None:
        return Table(describe(connection, query), iter(()))
    columns = name_columns(((column.name, column.type_code) for column in cursor.description or ()), query)

    def read() -> Iterator[tuple[str | None, ...]]:
        yield first
        yield from rows

    return Table(columns, read(), is_text=True)


def fetch(connection: Connection, query: Query, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Run one of our own queries; its rows as mappings with Python values."""
    cursor = psycopg.RawCursor(connection).execute(query.statement, query.arguments(values or {}))
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def describe(connection: Connection, query: Query) -> tuple[Column, ...]:
    """The columns a query would give, without running it.

    Raises `DatabaseError` where the server cannot prepare it.
    """
    pgconn = connection.pgconn
    for result in (pgconn.prepare(b"", query.statement.encode()), pgconn.describe_prepared(b"")):
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise translate(psycopg.errors.error_from_result(result))
    fields = range(result.nfields)
    return name_columns((((result.fname(field) or b"").decode(), result.ftype(field)) for field in fields), query)


def name_columns(columns: Iterable[tuple[str, int]], query: Query) -> tuple[Column, ...]:
    """Columns from names and type oids; a repeated name gets a number, `name_2`."""
    named: dict[str, Column] = {}
    for original, oid in columns:
        name, number = original, 1
        while name in named:
            number += 1
            name = f"{original}_{number}"
        kind = "bytes" if name in query.byte_columns else "prose" if name in query.prose_columns else kind_of(oid)
        named[name] = Column(name, kind, is_wide=name in query.wide_columns)
    return tuple(named.values())


def kind_of(oid: int) -> str:
    """What a renderer needs to know of a type."""
    info = psycopg.adapters.types.get(oid)
    if info is None:
        return "text"
    if info.array_oid == oid:
        return "array"
    if info.name in NUMBER_TYPES:
        return "number"
    if info.name in ("json", "jsonb"):
        return "json"
    if info.name == "bool":
        return "boolean"
    return "time" if info.name.startswith(("timestamp", "date", "time")) else "text"


@cache
def known_oids() -> Sequence[int]:
    """The oids of every type psycopg would convert, arrays included."""
    return [oid for info in psycopg.adapters.types for oid in (info.oid, info.array_oid) if oid]


def replace_loaders(adapters: AdaptersMap) -> None:
    """Make `adapters` load every type as the text the server sent."""
    for oid in known_oids():
        adapters.register_loader(oid, TextLoader)
