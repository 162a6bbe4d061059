"""The tables and views of a database, with rows and sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.row_count import (
    RowCount,
    count_tree,
    plans_foreign_code,
    raise_if_unavoidable,
    select_counts,
)
from iacalls_cli.queries import load_query
from iacalls_cli.table import Bytes, Prose

LOCKED = "locked by another session"
# Where estimates are enough, tables of more rows than this are not counted.
COUNTED_ROWS = 1_000_000
# Each count holds locks on a table and its indexes, of which the server has a limited number
# (max_locks_per_transaction) for all sessions together.
TABLES_A_STATEMENT = 200


@dataclass(frozen=True)
class Relation:
    """A table or view. `rows` is None for views and if there is neither a count nor an estimate.

    `counted` is exact, estimate, or `not counted: ` and the reason, like row security; `size` is in
    bytes, indexes and TOAST included, and None for what is locked.
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
    counts = count_tables(connection, to_count)
    return [relation_of(row, counts.get(row["name"])) for row in found]


def relation_of(row: dict[str, Any], count: RowCount | None) -> Relation:
    """One relation from its catalogue row and its count, if it was to be counted."""
    if row["is_locked"]:
        rows, counted = None, f"not counted: {LOCKED}"
    elif count is None:
        rows, counted = row["estimated_rows"], "estimate" if row["estimated_rows"] is not None else ""
    else:
        rows, counted = count.rows, "exact" if count.rows is not None else f"not counted: {count.reason}"
    return Relation(row["name"], row["kind"], rows, counted, row["size"], row["comment"])


def is_large(row: dict[str, Any]) -> bool:
    """Whether the planner believes in many rows."""
    return (row["estimated_rows"] or 0) > COUNTED_ROWS


def count_tables(connection: Connection, names: Sequence[str]) -> dict[str, RowCount]:
    """Count the rows of tables of schema public in one snapshot; raises `IacallsError`."""
    counted: dict[str, RowCount] = {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        own = names
        if plans_foreign_code(connection):
            own = [name for name in names if not plans_foreign_code(connection, "public", name)]
        for start in range(0, len(own), TABLES_A_STATEMENT):
            some = own[start : start + TABLES_A_STATEMENT]
            counted.update(zip(some, count_together(connection, some), strict=True))
        for name in names:
            if name not in counted:
                counted[name] = count_tree(connection, "public", name)
    return counted


def count_together(connection: Connection, names: Sequence[str]) -> list[RowCount]:
    """Count in one statement or, if that fails, each table by itself."""
    counts = sql.SQL(", ").join(
        sql.SQL("(SELECT pg_catalog.count(*) FROM {})").format(sql.Identifier("public", name)) for name in names
    )
    try:
        return [RowCount(rows) for rows in select_counts(connection, sql.SQL("SELECT {}").format(counts))]
    except DatabaseError as error:
        raise_if_unavoidable(error)
    return [count_tree(connection, "public", name) for name in names]
