"""A table cut into ranges, each as wide as one short transaction can take.

`ctid` ranges read only their own pages (PostgreSQL 14 and newer), where a LIMIT would scan the table
anew for every batch: the age has no index. Where rows have no stable place, the primary key is walked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.references import Relation
from iacalls_cli.queries import load_query

# What a transaction is meant to take, and when it is broken off and tried with less.
AIM_SECONDS, MOST_SECONDS = 0.2, 0.4
SLOWER, FASTER = 0.25, 4.0
# The smallest row of a table takes 28 bytes of a page with its pointer.
LEAST_ROW_BYTES = 28
FIRST_PAGES, FIRST_KEYS = 64, 1000


@dataclass
class Pace:
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
        condition = sql.SQL("{row}.ctid >= {start}::tid AND {row}.ctid < {end}::tid").format(
            row=sql.Identifier(alias), start=self.literal(self.position), end=self.literal(end)
        )
        return Range(condition, end, 1.0 if end < self.total else 0.0)

    def literal(self, position: int) -> sql.Literal:
        """A place as PostgreSQL writes it."""
        return sql.Literal(f"({position // self.slots},{position % self.slots})")

    def advance(self, done: Range) -> None:
        """Go on behind a range."""
        assert isinstance(done.end, int)  # noqa: S101, its own range
        self.position = done.end


def primary_key(connection: Connection, relation: Relation) -> list[str]:
    """The columns of a table's primary key; raises `IacallsError` where it has none."""
    columns = fetch(connection, load_query("maintain/columns"), {"oid": relation.oid})
    key = sorted((row["key_position"], row["name"]) for row in columns if row["key_position"] >= 0)
    if not key:
        raise IacallsError(
            f"{relation} has no primary key, and its rows have no stable places", "give it a primary key"
        )
    return [name for _, name in key]


class KeyWalk:
    """Ranges of a table by its primary key."""

    def __init__(self, connection: Connection, relation: Relation) -> None:
        self.connection, self.relation = connection, relation
        self.key = primary_key(connection, relation)
        self.last: Sequence[str] | None = None
        self.is_over = False
        self.first_width = float(FIRST_KEYS)
        self.progress = (0, 1)

    def names(self, alias: str) -> sql.Composed:
        """The key's columns in parentheses."""
        return sql.SQL("({})").format(sql.SQL(", ").join(sql.Identifier(alias, name) for name in self.key))

    def next(self, width: float, alias: str) -> Range | None:
        """The next range, of so many keys; None at the end."""
        if self.is_over:
            return None
        after = sql.SQL("{} > {}").format(self.names(alias), self.values(self.last)) if self.last else sql.SQL("true")
        texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, name)) for name in self.key)
        statement = sql.SQL("SELECT {} FROM {} AS {} WHERE {} ORDER BY {} OFFSET {} LIMIT 1").format(
            texts,
            self.relation.only,
            sql.Identifier(alias),
            after,
            sql.SQL(", ").join(sql.Identifier(alias, name) for name in self.key),
            sql.Literal(int(width)),
        )
        with database_errors():
            end = self.connection.execute(statement).fetchone()
        condition = sql.SQL("{} AND {}").format(
            after, sql.SQL("{} <= {}").format(self.names(alias), self.values(end)) if end else sql.SQL("true")
        )
        return Range(condition, end, 1.0 if end else 0.0)

    def values(self, texts: Sequence[str]) -> sql.Composed:
        """A key's values, typed by what they are compared with."""
        return sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, texts)))

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
