"""A table cut into ranges, each as wide as one short transaction can take.

`ctid` ranges read only their own pages (PostgreSQL 14 and newer), where a LIMIT would scan the table
anew for every batch: the age has no index. Where rows have no stable place, the primary key is walked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.relations import Relation
from iacalls_cli.queries import load_query

# What a transaction is meant to take, and when it is broken off and tried with less.
AIM_SECONDS, MOST_SECONDS = 0.2, 0.4
SLOWER, FASTER = 0.25, 4.0
# The smallest row of a table takes 28 bytes of a page with its pointer.
LEAST_ROW_BYTES = 28
FIRST_PAGES, FIRST_KEYS = 64, 1000


@dataclass
class BatchSize:
    """How wide the next range is, by how long the last ones took.

    Slowness alone narrows it no further than `least`: where the disk needs its time for each
    transaction, less in each would only be slower.
    """

    width: float
    least: float = 1.0
    aim: float = AIM_SECONDS

    def took(self, seconds: float, share: float = 1.0) -> None:
        """Learn from a transaction; `share` is how much of the asked width there was."""
        if share < 1:  # the end of the table tells nothing of what a whole width takes
            return
        fitting = self.width * min(FASTER, max(SLOWER, self.aim / max(seconds, 0.001)))
        self.width = max(fitting, min(self.width, self.least))

    def was_too_wide(self) -> bool:
        """Narrow it after a transaction was broken off; returns whether it could be."""
        if self.width <= 1:
            return False
        self.width = max(1.0, self.width * SLOWER)
        return True


@dataclass(frozen=True)
class Range:
    """A piece of a table as a condition over an alias, where it ends, and how much of the asked width it is."""

    condition: sql.Composed
    end: object
    share: float = 1.0


class TidWalk:
    """Ranges of a table by the places of its rows, up to where the table ended at the beginning."""

    def __init__(self, connection: Connection, relation: Relation, block_size: int) -> None:
        self.slots = block_size // LEAST_ROW_BYTES
        pages: int = fetch(connection, load_query("maintain/pages"), {"oid": relation.oid})[0]["pages"]
        self.total = pages * self.slots
        self.position = 0
        self.first_width = float(FIRST_PAGES * self.slots)

    @property
    def progress(self) -> tuple[int, int]:
        """Pages done, and all."""
        return self.position // self.slots, self.total // self.slots

    def next(self, width: float, alias: str) -> Range | None:
        """The next range, at most so many places wide; None at the end."""
        if self.position >= self.total:
            return None
        end = self.position + int(width)
        if width > self.slots:  # whole pages: a page that two transactions write is written twice
            end -= end % self.slots
        end = min(end, self.total)
        condition = sql.SQL(
            "{row}.ctid OPERATOR(pg_catalog.>=) {start}::pg_catalog.tid"
            " AND {row}.ctid OPERATOR(pg_catalog.<) {end}::pg_catalog.tid"
        ).format(row=sql.Identifier(alias), start=self.literal(self.position), end=self.literal(end))
        return Range(condition, end, 1.0 if end < self.total else 0.0)

    def literal(self, position: int) -> sql.Literal:
        """A place as PostgreSQL writes it."""
        return sql.Literal(f"({position // self.slots},{position % self.slots})")

    def advance(self, done: Range) -> None:
        """Go on behind a range."""
        assert isinstance(done.end, int)  # noqa: S101, its own range
        self.position = done.end


@dataclass(frozen=True)
class KeyColumn:
    """A column of a primary key, with the operators of its index, by their schema."""

    name: str
    equals: str
    greater: str
    at_most: str


def primary_key(connection: Connection, relation: Relation) -> list[KeyColumn]:
    """The columns of a table's primary key; raises `IacallsError` where it has none."""
    columns = fetch(connection, load_query("maintain/columns"), {"oid": relation.oid})
    key = sorted((row for row in columns if row["key_position"] >= 0), key=lambda row: int(row["key_position"]))
    if not key:
        raise IacallsError(
            f"{relation} has no primary key, and its rows have no stable places", "give it a primary key"
        )
    return [KeyColumn(**{name: row[name] for name in ("name", "equals", "greater", "at_most")}) for row in key]


class KeyWalk:
    """Ranges of a table by its primary key."""

    def __init__(self, connection: Connection, relation: Relation) -> None:
        self.connection, self.relation = connection, relation
        self.key = primary_key(connection, relation)
        self.last: Sequence[str] | None = None
        self.is_over = False
        self.first_width = float(FIRST_KEYS)
        self.progress = (0, 1)

    def after(self, alias: str, values: Sequence[str]) -> sql.Composed:
        """Whether a row's key is greater than values, which are typed by what they are compared with."""
        return self.compare(alias, values, [column.greater for column in self.key], "{column} {greater} {value}")

    def up_to(self, alias: str, values: Sequence[str]) -> sql.Composed:
        """Whether a row's key is at most these values."""
        return self.compare(alias, values, [column.at_most for column in self.key], "{value} {greater} {column}")

    def compare(self, alias: str, values: Sequence[str], operators: Sequence[str], strict: str) -> sql.Composed:
        """Compare keys as their index does: as rows, or where the operators are of several schemas one by one."""
        names = [sql.Identifier(alias, column.name) for column in self.key]
        if len(set(operators)) == 1:
            return sql.SQL("({}) {} ({})").format(
                sql.SQL(", ").join(names), sql.SQL(operators[0]), sql.SQL(", ").join(map(sql.Literal, values))
            )
        cases, equal = [], list[sql.Composable]()
        for number, (name, column, value) in enumerate(zip(names, self.key, map(sql.Literal, values), strict=True)):
            parts = {"column": name, "value": value, "greater": sql.SQL(column.greater)}
            last = sql.SQL("{} {} {}").format(name, sql.SQL(operators[number]), value)
            own = last if number == len(names) - 1 else sql.SQL(strict).format(**parts)
            cases.append(sql.SQL("({})").format(sql.SQL(" AND ").join([*equal, own])))
            equal.append(sql.SQL("{} {} {}").format(name, sql.SQL(column.equals), value))
        return sql.SQL("({})").format(sql.SQL(" OR ").join(cases))

    def next(self, width: float, alias: str) -> Range | None:
        """The next range, of so many keys; None at the end."""
        if self.is_over:
            return None
        after: sql.Composable = sql.SQL("true")
        if self.last:
            after = self.after(alias, self.last)
        texts = sql.SQL(", ").join(
            sql.SQL("{}::pg_catalog.text").format(sql.Identifier(alias, column.name)) for column in self.key
        )
        statement = sql.SQL("SELECT {} FROM {} AS {} WHERE {} ORDER BY {} OFFSET {} LIMIT 1").format(
            texts,
            self.relation.only,
            sql.Identifier(alias),
            after,
            sql.SQL(", ").join(sql.Identifier(alias, column.name) for column in self.key),
            sql.Literal(int(width)),
        )
        with self.connection.transaction(), application_path(self.connection):
            end = self.connection.execute(statement).fetchone()
        condition = sql.SQL("{} AND {}").format(
            after,
            self.up_to(alias, end) if end else sql.SQL("true"),
        )
        return Range(condition, end, 1.0 if end else 0.0)

    def advance(self, done: Range) -> None:
        """Go on behind a range."""
        if done.end is None:
            self.is_over, self.progress = True, (1, 1)
        else:
            assert isinstance(done.end, tuple)  # noqa: S101, its own range
            self.last = done.end


def walk(connection: Connection, relation: Relation, block_size: int) -> TidWalk | KeyWalk:
    """How to go through a table."""
    if relation.has_tids:
        return TidWalk(connection, relation, block_size)
    return KeyWalk(connection, relation)
