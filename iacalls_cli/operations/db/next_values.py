"""Whether the sequences of the schema's tables give ids that are free, and how many are left."""

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.db.compare import Difference
from iacalls_cli.operations.db.expected import LAST_INTEGER, Catalogue, ObjectKey
from iacalls_cli.operations.db.row_count import make_strict, plans_foreign_code, raise_if_unavoidable
from iacalls_cli.queries import load_query

# An id that is taken this far ahead of a sequence is reserved, and no sign that the sequence is behind.
NEAR = 1000
NEARLY_USED = 0.9


def find_next_values(connection: Connection, expected: Catalogue) -> list[Difference]:
    """Return a difference for each sequence whose next ids are taken, or that has hardly any left; only reads."""
    found = []
    for row in fetch(connection, load_query("db/owned-sequences")):
        key = ObjectKey("next value", row["table_name"], row["column_name"])
        if row["table_schema"] != "public" or ObjectKey("sequence", key.relation, key.name) not in expected:
            continue
        if plans_foreign_code(connection, "public", row["table_name"]):
            continue
        values = read_values(connection, row)
        if values:
            found += judge(key, row["name"], row["most"], *values)
    return found


def read_values(connection: Connection, row: dict[str, object]) -> tuple[int, int | None] | None:
    """Return the next value of a sequence and the first id from there on that is taken, or None if not readable."""
    statement = sql.SQL(
        "SELECT next, (SELECT pg_catalog.min({column})::bigint FROM {table} WHERE {column} >= next)"
        " FROM (SELECT last_value + CASE WHEN is_called THEN {step} ELSE 0 END AS next FROM {sequence}) AS s"
    ).format(
        column=sql.Identifier(str(row["column_name"])),
        table=sql.Identifier("public", str(row["table_name"])),
        sequence=sql.Identifier(str(row["schema"]), str(row["name"])),
        step=sql.Literal(row["increment"]),
    )
    try:
        with connection.transaction(force_rollback=True):
            make_strict(connection)
            values = connection.execute(statement).fetchone()
    except psycopg.Error as error:
        raise_if_unavoidable(error)
        return None
    return (int(values[0]), values[1]) if values else None


def judge(key: ObjectKey, name: str, most: int, next_value: int, taken: int | None) -> list[Difference]:
    """Return what the next value of a sequence means for the next inserts."""
    if next_value > most:
        return [Difference(key, None, name, told=f"has no next id: {name} ended at {most}", severity="problem")]
    if taken is not None and taken - next_value < NEAR:
        when = "the next insert fails" if taken == next_value else "inserts will fail there"
        told = f"has taken ids ahead: {name} gives {next_value} next, and {taken} is taken; {when}"
        return [Difference(key, None, name, told=told, severity="problem")]
    if taken is not None:
        told = f"has a high id of its own, {taken}; {name} gives {next_value} next"
        return [Difference(key, None, name, told=told, severity="note")]
    if next_value > NEARLY_USED * min(most, LAST_INTEGER) and most <= LAST_INTEGER:
        told = f"has {most - next_value + 1} ids left: {name} gives {next_value} next"
        return [Difference(key, None, name, told=told, severity="warning")]
    return []
