"""The tables and views of a database, with rows and sizes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query
from iacalls_cli.table import Bytes, Prose

# With --estimate, tables of more rows than this are not counted.
COUNTED_ROWS = 1_000_000
# PostgreSQL takes no more than 1664 columns in one answer.
TABLES_A_STATEMENT = 1000


@dataclass(frozen=True)
class Relation:
    """A table or view. `rows` is None for views and where the role may not read.

    `counted` is exact or estimate; `size` is in bytes, indexes and TOAST included.
    """

    name: str
    kind: str
    rows: int | None
    counted: str
    size: Bytes | None
    comment: Prose | None


def list_relations(connection: Connection, *, estimate: bool = False) -> list[Relation]:
    """All tables and views of schema public, tables first.

    Rows are counted exactly, in one snapshot. With `estimate`,
    large tables get the planner's figure instead. Raises `DatabaseError`.
    """
    found = fetch(connection, load_query("db/relations"))
    to_count = [row["name"] for row in found if row["is_countable"] and not (estimate and is_large(row))]
    counts = count_rows(connection, to_count)
    return [relation_of(row, counts) for row in found]


def relation_of(row: dict[str, Any], counts: dict[str, int]) -> Relation:
    """One relation from its catalogue row and the exact counts."""
    name = row["name"]
    exact = name in counts
    rows = counts[name] if exact else row["estimated_rows"]
    counted = "exact" if exact else "estimate" if rows is not None else ""
    return Relation(name, row["kind"], rows, counted, row["size"], row["comment"])


def is_large(row: dict[str, Any]) -> bool:
    """Whether the planner believes in many rows."""
    return (row["estimated_rows"] or 0) > COUNTED_ROWS


def count_rows(connection: Connection, tables: Iterable[str]) -> dict[str, int]:
    """Exact row counts of tables of schema public, taken in one snapshot."""
    names = list(tables)
    counted: dict[str, int] = {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for start in range(0, len(names), TABLES_A_STATEMENT):
            some = names[start : start + TABLES_A_STATEMENT]
            counts = sql.SQL(", ").join(
                sql.SQL("(SELECT count(*) FROM {})").format(sql.Identifier("public", name)) for name in some
            )
            row = connection.execute(sql.SQL("SELECT {}").format(counts)).fetchone()
            counted.update(zip(some, row or (), strict=True))
    return counted
