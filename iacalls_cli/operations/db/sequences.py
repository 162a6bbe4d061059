"""Sequences that belong to a column: whether they are behind its values, and moving them to where a dump says.

Never back: an id that was given once, to a row that is gone or not yet committed, is not given again.
"""

from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.row_count import plans_foreign_code
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name


@dataclass(frozen=True)
class BehindSequence:
    """A sequence that will give a value that its column has already.

    `next_value` is what it gives next, `highest` the largest value of the column of `table`.
    """

    name: str
    table: tuple[str, str]
    next_value: int
    highest: int

    def __str__(self) -> str:
        return f"{self.name} gives {self.next_value} next, and {relation_name(*self.table)} has {self.highest}"


def find_behind(connection: Connection) -> list[BehindSequence]:
    """Return every ascending sequence that is behind the column it feeds; nothing is changed.

    A reserved high id is no reason to move one: behind 2147483647 there is no next value. A table whose
    largest value cannot be asked for, for its row security say, is passed over.
    """
    behind = []
    for row in fetch(connection, load_query("db/owned-sequences")):
        statement = sql.SQL(
            "WITH highest AS (SELECT pg_catalog.max({column})::bigint AS value FROM {table})"
            " SELECT s.last_value + CASE WHEN s.is_called THEN {increment} ELSE 0 END, value"
            " FROM highest, {sequence} AS s"
            " WHERE value <= {most} AND (value > s.last_value OR (value = s.last_value AND NOT s.is_called))"
        ).format(
            column=sql.Identifier(row["column_name"]),
            table=sql.Identifier(row["table_schema"], row["table_name"]),
            sequence=sql.Identifier(row["schema"], row["name"]),
            increment=sql.Literal(row["increment"]),
            most=sql.Literal(row["most"]),
        )
        if plans_foreign_code(connection, row["table_schema"], row["table_name"]):
            continue
        try:
            with connection.transaction():
                found = connection.execute(statement).fetchone()
        except DatabaseError:
            continue
        if found:
            table = row["table_schema"], row["table_name"]
            behind.append(BehindSequence(relation_name(row["schema"], row["name"]), table, *found))
    return behind


def carry_sequences(source: Connection, target: Connection) -> list[str]:
    """Move the sequences of `target` to where those of `source` are, where that is further on.

    What follows a database in its place then gives no id again that was given since. One that has
    no next value there stays: inserts would fail. Returns what was done, a line each.
    """
    notes = []
    for row in fetch(source, load_query("db/sequence-values")):
        if row["is_at_end"]:
            notes.append(f"the sequence {row['name']} is at its end, and stays where the backup says")
        elif move_sequence(target, row["name"], row["value"], is_called=True):
            notes.append(f"the sequence {row['name']} goes on from {row['value']}, as in the replaced database")
    return notes


def move_sequence(connection: Connection, name: str, value: int, *, is_called: bool) -> bool:
    """Move a sequence to where a dump says it was, where that is further on than it is.

    `name` is quoted as SQL needs it. Returns whether it was moved.
    """
    is_moved = False
    for row in fetch(connection, load_query("db/find-sequence"), {"name": name}):
        sequence = sql.Identifier(row["schema"], row["name"])
        statement = sql.SQL(
            "SELECT setval({name}::regclass, {value}, {is_called}) FROM {sequence} AS s"
            " WHERE CASE WHEN {is_cyclic} THEN NOT s.is_called AND {is_called}"
            " ELSE {value} {further} s.last_value OR ({value} = s.last_value AND {is_called} AND NOT s.is_called) END"
        )
        moved = connection.execute(
            statement.format(
                name=sql.Literal(sequence.as_string()),
                value=sql.Literal(value),
                is_called=sql.Literal(is_called),
                is_cyclic=sql.Literal(row["is_cyclic"]),
                sequence=sequence,
                further=sql.SQL(">" if row["is_ascending"] else "<"),
            )
        )
        is_moved = is_moved or moved.rowcount > 0
    return is_moved
