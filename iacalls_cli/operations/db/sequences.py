"""Sequences that belong to a column: whether they are behind its values, and moving them forward.

Never back: an id that was given once, to a row that is gone or not yet committed, is not given
again. A sequence goes on with the first value no row has.
"""

from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name


@dataclass(frozen=True)
class MovedSequence:
    """A sequence that was moved forward: `next_value` is what it gives next."""

    name: str
    next_value: int


def advance_sequences(connection: Connection) -> list[MovedSequence]:
    """Move every ascending sequence that is behind its column forward; returns which were."""
    moved = []
    for row in fetch(connection, load_query("db/owned-sequences")):
        table = sql.Identifier(row["table_schema"], row["table_name"])
        sequence = sql.Identifier(row["schema"], row["name"])
        column = sql.Identifier(row["column_name"])
        statement = sql.SQL(
            "WITH highest AS (SELECT max({column}) AS value FROM {table}),"
            " behind AS (SELECT value::bigint AS value FROM highest, {sequence} AS s"
            " WHERE value <= {most}"
            " AND (value > s.last_value OR (value = s.last_value AND NOT s.is_called)))"
            " SELECT setval({name}::regclass, value, true) FROM behind"
        )
        with database_errors():
            found = connection.execute(
                statement.format(
                    column=column,
                    table=table,
                    sequence=sequence,
                    name=sql.Literal(sequence.as_string()),
                    most=sql.Literal(row["most"]),
                )
            ).fetchone()
        if found:
            name = relation_name(row["schema"], row["name"])
            moved.append(MovedSequence(name, found[0] + row["increment"]))
    return moved


def carry_sequences(source: Connection, target: Connection) -> None:
    """Move the sequences of `target` to where those of `source` are, where that is further on.

    What follows a database in its place then gives no id again that was given since.
    """
    with database_errors():
        for row in fetch(source, load_query("db/sequence-values")):
            move_sequence(target, row["name"], row["value"], is_called=True)


def move_sequence(connection: Connection, name: str, value: int, *, is_called: bool) -> None:
    """Move a sequence to where a dump says it was, where that is further on than it is.

    `name` is quoted as SQL needs it; psycopg's errors come out as they are.
    """
    for row in fetch(connection, load_query("db/find-sequence"), {"name": name}):
        sequence = sql.Identifier(row["schema"], row["name"])
        statement = sql.SQL(
            "SELECT setval({name}::regclass, {value}, {is_called}) FROM {sequence} AS s"
            " WHERE {value} {further} s.last_value OR ({value} = s.last_value AND {is_called} AND NOT s.is_called)"
        )
        connection.execute(
            statement.format(
                name=sql.Literal(sequence.as_string()),
                value=sql.Literal(value),
                is_called=sql.Literal(is_called),
                sequence=sequence,
                further=sql.SQL(">" if row["is_ascending"] else "<"),
            )
        )
