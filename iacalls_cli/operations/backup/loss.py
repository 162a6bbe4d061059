"""What a database has that its restored copy has not: told before the one takes the other's place.

Rows are newer where their key is above the copy's highest, and changed where their updated_at is
later than the copy's latest. No clock is asked: timestamps of this database carry no zone.
"""

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE, UNDEFINED
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.row_count import plans_foreign_code
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name


@dataclass(frozen=True)
class TableLoss:
    """Of one table: its rows now, those of the copy, and how many now are newer or changed.

    None where that cannot be told: no key of whole numbers, no column updated_at, no such table,
    row security for this role, an index with functions of another role, or that find their names by search_path.
    """

    table: str
    rows: int | None
    restored: int | None
    newer: int | None
    changed: int | None

    @property
    def is_any(self) -> bool:
        """Whether anything would be lost, as far as it can be told."""
        if self.rows is None:
            return False
        return bool(self.newer or self.changed or self.restored is None or self.rows > self.restored)


def compare_databases(live: Connection, restored: Connection) -> list[TableLoss]:
    """What would be lost of each table of `live`, those with nothing to lose included."""
    copies = {(row["schema"], row["name"]): row for row in fetch(restored, load_query("backup/loss-columns"))}
    losses = []
    for row in fetch(live, load_query("backup/loss-columns")):
        if plans_foreign_code(live, row["schema"], row["name"]):
            # Comparing would run them with the privileges of this role.
            losses.append(TableLoss(relation_name(row["schema"], row["name"]), None, None, None, None))
            continue
        try:
            losses.append(compare_table(live, restored, row, copies.get((row["schema"], row["name"]))))
        except DatabaseError as error:
            if error.sqlstate not in (INSUFFICIENT_PRIVILEGE, *UNDEFINED):
                raise
            losses.append(TableLoss(relation_name(row["schema"], row["name"]), None, None, None, None))
    return losses


def compare_table(
    live: Connection, restored: Connection, row: dict[str, Any], copy: dict[str, Any] | None
) -> TableLoss:
    """What would be lost of one table."""
    table = sql.Identifier(row["schema"], row["name"])
    shown = relation_name(row["schema"], row["name"])
    if copy is None:
        return TableLoss(shown, ask(live, sql.SQL("SELECT count(*) FROM {}").format(table))[0], None, None, None)
    key = row["key"] if row["key"] == copy["key"] else None
    touched = "updated_at" if row["has_updated_at"] and copy["has_updated_at"] else None
    highest = sql.SQL("max({})").format(sql.Identifier(key)) if key else sql.SQL("NULL")
    latest = sql.SQL("max({})::text").format(sql.Identifier(touched)) if touched else sql.SQL("NULL")
    count, top, last = ask(restored, sql.SQL("SELECT count(*), {}, {} FROM {}").format(highest, latest, table))
    is_newer: sql.Composable = sql.SQL("true" if key else "false")
    if key and top is not None:
        is_newer = sql.SQL("{} > {}").format(sql.Identifier(key), sql.Literal(top))
    is_later: sql.Composable = sql.SQL("false")
    if touched:
        is_later = sql.SQL("{} IS NOT NULL").format(sql.Identifier(touched))
    if touched and last is not None:
        is_later = sql.SQL("{} > {}").format(sql.Identifier(touched), sql.Literal(last))
    rows, newer, changed = ask(
        live,
        sql.SQL(
            "SELECT count(*), count(*) FILTER (WHERE {0}), count(*) FILTER (WHERE {1} AND NOT {0}) FROM {2}"
        ).format(is_newer, is_later, table),
    )
    return TableLoss(shown, rows, count, newer if key else None, changed if touched else None)


def ask(connection: Connection, query: sql.Composed) -> tuple[Any, ...]:
    """The one row of a query."""
    with connection.transaction():
        # What a policy hides must not be taken for lost, nor for kept.
        connection.execute("SET LOCAL row_security = off")
        return connection.execute(query).fetchone() or ()
