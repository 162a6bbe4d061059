"""Whether the sequences of the schema's tables give ids that are free, and how many are left."""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.catalog import LAST_INTEGER, Catalogue, ObjectKey
from iacalls_cli.operations.db.compare import Difference
from iacalls_cli.operations.db.row_count import make_strict, plans_foreign_code, raise_if_unavoidable
from iacalls_cli.queries import load_query

# An id that is taken this far ahead of a sequence is reserved, and no sign that the sequence is behind.
NEAR = 1000
NEARLY_USED = 0.9


def find_next_values(connection: Connection, expected: Catalogue) -> list[Difference]:
    """Return a difference for each sequence whose next ids are taken, or that has hardly any left; only reads."""
    rows = [
        row
        for row in fetch(connection, load_query("db/owned-sequences"))
        if row["table_schema"] == "public" and ObjectKey("sequence", row["table_name"], row["column_name"]) in expected
    ]
    # One look at all tables and one statement is the usual case; a single table is looked at where that fails.
    if plans_foreign_code(connection):
        rows = [row for row in rows if not plans_foreign_code(connection, "public", row["table_name"])]
    values = read_values(connection, rows) or {
        number: known[0] for number, row in enumerate(rows) if (known := read_values(connection, [row]))
    }
    found = []
    for number, (next_value, taken) in values.items():
        row = rows[number]
        key = ObjectKey("next value", row["table_name"], row["column_name"])
        found += judge(key, row["name"], row["most"], next_value, taken)
    return found


def read_values(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int, int | None]]:
    """Return by row the next value of its sequence and the first id from there on that is taken; {} if not readable."""
    statements = [
        sql.SQL(
            "SELECT {number}, next, (SELECT pg_catalog.min({column})::bigint FROM {table} WHERE {column} >= next)"
            " FROM (SELECT last_value + CASE WHEN is_called THEN {step} ELSE 0 END AS next FROM {sequence}) AS s"
        ).format(
            number=sql.Literal(number),
            column=sql.Identifier(row["column_name"]),
            table=sql.Identifier("public", row["table_name"]),
            sequence=sql.Identifier(row["schema"], row["name"]),
            step=sql.Literal(row["increment"]),
        )
        for number, row in enumerate(rows)
    ]
    if not statements:
        return {}
    try:
        with connection.transaction(force_rollback=True):
            make_strict(connection)
            answers = connection.execute(sql.SQL(" UNION ALL ").join(statements)).fetchall()
    except DatabaseError as error:
        raise_if_unavoidable(error)
        return {}
    return {int(number): (int(next_value), taken) for number, next_value, taken in answers}


def judge(key: ObjectKey, name: str, most: int, next_value: int, taken: int | None) -> list[Difference]:
    """Return what the next value of a sequence means for the next inserts."""
    if next_value > most:
        return [Difference(key, None, name, message=f"has no next id: {name} ended at {most}", severity="problem")]
    if taken is not None and taken - next_value < NEAR:
        when = "the next insert fails" if taken == next_value else "inserts will fail there"
        message = f"has taken ids ahead: {name} gives {next_value} next, and {taken} is taken; {when}"
        return [Difference(key, None, name, message=message, severity="problem")]
    if taken is not None:
        message = f"has a high id of its own, {taken}; {name} gives {next_value} next"
        return [Difference(key, None, name, message=message, severity="note")]
    if next_value > NEARLY_USED * min(most, LAST_INTEGER) and most <= LAST_INTEGER:
        message = f"has {most - next_value + 1} ids left: {name} gives {next_value} next"
        return [Difference(key, None, name, message=message, severity="warning")]
    return []
