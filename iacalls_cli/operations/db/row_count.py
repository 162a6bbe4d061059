"""Exact row counts that neither row security nor the functions of an index can falsify, prevent or abuse.

A plain `SELECT count(*)` has three faults: where row security applies to the role it counts only the
visible rows; it fails if the planner meets an index whose function finds its names by search_path
(the planner inlines SQL functions, and our sessions have a safe path); and the planner runs
functions of indexes and CHECK constraints as the role that counts. A table's owner could have a
superuser's nightly backup run a program that way.
"""

from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import SAFE_PATH, Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE
from iacalls_cli.errors import DatabaseError
from iacalls_cli.queries import load_query

ROW_SECURITY = "row security"
# Classes of SQLSTATE that no other way of counting avoids: lost connections, ended transactions,
# deadlocks, missing resources, locks, cancellations and time-outs, broken files.
UNAVOIDABLE = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")


@dataclass(frozen=True)
class RowCount:
    """The rows of a table, or None with the reason: `row security`, or the server's message."""

    rows: int | None
    reason: str = ""


def count_rows(connection: Connection, schema: str, name: str) -> RowCount:
    """Count the rows of one table, without those of its partitions and inheriting tables.

    Within a transaction the count is of its snapshot; the transaction stays usable, its settings
    stay as they are, and the locks of the count are released. A count that cannot be planned, or
    would run another role's functions when it is, is taken by COPY, which plans nothing and runs no
    code but the output function of one column's type. Raises `IacallsError` for lock time-outs,
    cancellations and lost connections.
    """
    table = sql.Identifier(schema, name)
    if not plans_foreign_code(connection, schema, name):
        try:
            return RowCount(select_count(connection, sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table)))
        except DatabaseError as error:
            raise_if_unavoidable(error)
    # Not within the block above: there psycopg would show the first error as the cause of the next.
    try:
        return RowCount(copy_count(connection, schema, name))
    except DatabaseError as error:
        raise_if_unavoidable(error)
        return RowCount(None, reason_of(connection, error, schema, name))


def plans_foreign_code(connection: Connection, schema: str | None = None, name: str | None = None) -> bool:
    """Whether planning a query on a table, or on any, may run functions of another role that is no superuser."""
    rows = fetch(connection, load_query("db/planned-code"), {"schema": schema, "name": name})
    return bool(rows and rows[0]["is_foreign"])


def count_tree(connection: Connection, schema: str, name: str) -> RowCount:
    """Count the rows of a table together with its partitions and inheriting tables.

    None if any of them cannot be counted. Raises as `count_rows` does.
    """
    total = 0
    for row in fetch(connection, load_query("db/table-tree"), {"schema": schema, "name": name}):
        counted = count_rows(connection, row["schema"], row["name"])
        if counted.rows is None:
            return counted
        total += counted.rows
    return RowCount(total)


def select_count(connection: Connection, statement: sql.Composed) -> int:
    """Return the first value of a counting statement, with row security off."""
    return int(select_counts(connection, statement)[0])


def select_counts(connection: Connection, statement: sql.Composed) -> tuple[int, ...]:
    """Return the only row of a counting statement. It fails rather than count the visible rows only."""
    # The settings and the locks on tables and indexes end with it, also within a transaction.
    with connection.transaction(force_rollback=True):
        make_strict(connection)
        return connection.execute(statement).fetchone() or ()


def copy_count(connection: Connection, schema: str, name: str) -> int:
    """Count rows by reading one narrow column of them with COPY."""
    column = fetch(connection, load_query("db/copyable-column"), {"schema": schema, "name": name})
    columns = sql.SQL(" ({})").format(sql.Identifier(column[0]["name"])) if column else sql.SQL("")
    # Without conversion: text that is not valid in its encoding is a row as well.
    statement = sql.SQL("COPY {}{} TO STDOUT (ENCODING 'SQL_ASCII')").format(sql.Identifier(schema, name), columns)
    with connection.transaction(force_rollback=True):
        make_strict(connection)
        with connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for _ in copy:
                    pass
            return cursor.rowcount


def make_strict(connection: Connection) -> None:
    """Have the safe path, and errors instead of filtered rows, until the transaction or savepoint is rolled back."""
    connection.execute(
        "SELECT pg_catalog.set_config('search_path', %s, true), pg_catalog.set_config('row_security', 'off', true)",
        [SAFE_PATH],
    )


def raise_if_unavoidable(error: DatabaseError) -> None:
    """Raise `error` again if another way of counting would not help."""
    if not error.sqlstate or error.sqlstate.startswith(UNAVOIDABLE):
        raise error


def reason_of(connection: Connection, error: DatabaseError, schema: str, name: str) -> str:
    """Return why a table cannot be counted."""
    if error.sqlstate == INSUFFICIENT_PRIVILEGE:
        rows = fetch(connection, load_query("db/is-row-security-active"), {"schema": schema, "name": name})
        if rows and rows[0]["is_active"]:
            return ROW_SECURITY
    return error.message
