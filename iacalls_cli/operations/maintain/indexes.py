"""The indexes that can be rebuilt, what each needs, and finding them by what people type."""

from collections.abc import Sequence
from dataclasses import dataclass

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.maintain.locks import retry
from iacalls_cli.operations.maintain.tables import unknown_name
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# Of a B-tree built anew a tenth is free, and after some weeks of use up to a third: that is no loss.
BLOAT_SHARE = 0.3
SMALL_BYTES = 1_048_576


@dataclass(frozen=True)
class IndexState:
    """An index, by the catalogue. `guess` is what it would take if it were built anew, in bytes, if that is known.

    `size` is None for one that is locked, or that only stands for those of partitions.
    """

    oid: int
    schema: str
    name: str
    table_oid: int
    table_schema: str
    table_name: str
    table_kind: str
    is_toast: bool
    is_partitioned: bool
    parent: int | None
    is_allowed: bool
    method: str
    is_valid: bool
    is_exclusion: bool
    is_called_leftover: bool
    has_twin: bool
    is_being_built: bool
    size: int | None
    page_size: int
    guess: int | None
    tablespace: int

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)

    @property
    def table(self) -> str:
        """The name of its table."""
        return relation_name(self.table_schema, self.table_name)

    @property
    def is_leftover(self) -> bool:
        """Whether it is surely what an unfinished REINDEX CONCURRENTLY left, and nobody is at it now."""
        return self.is_called_leftover and self.has_twin and not self.is_being_built

    @property
    def bloat(self) -> float | None:
        """The share of it that a new one would not take; None where that cannot be told."""
        if self.size is None or self.guess is None or not self.size:
            return None
        return max(0.0, 1 - self.guess / self.size)

    @property
    def pages(self) -> int:
        """Its pages on the disk, at least one."""
        return max(1, (self.size or 0) // self.page_size)

    @property
    def wasted(self) -> int:
        """The bytes that a new one would not take, as far as that can be told."""
        return int((self.bloat or 0) * (self.size or 0))

    @property
    def need(self) -> str:
        """Why it should be rebuilt, in words; '' where it need not be."""
        if not self.is_valid:
            return "it is not valid: no query uses it"
        if self.bloat is not None and self.bloat >= BLOAT_SHARE and (self.size or 0) >= SMALL_BYTES:
            return f"about {self.bloat:.0%} of it is empty"
        return ""

    @property
    def is_unknown(self) -> bool:
        """Whether nobody can tell if it needs it: for want of statistics, or because it is no B-tree."""
        return self.bloat is None and (self.size or 0) >= SMALL_BYTES


def read_indexes(connection: Connection) -> list[IndexState]:
    """All indexes of the users' tables, by table and name; raises `DatabaseError`."""
    return [IndexState(**row) for row in retry(lambda: fetch(connection, load_query("maintain/indexes")))]


def find_indexes(known: Sequence[IndexState], tables: Sequence[str], names: Sequence[str]) -> list[IndexState]:
    """The indexes of these names, or of tables of these names; for a partitioned one those of its partitions.

    `tables` are the names of all tables, with or without indexes. Raises `UsageError` for a name
    that neither a table nor an index has.
    """
    found: dict[int, IndexState] = {}
    for name in names:
        for wanted in dict.fromkeys((name, name.lower())):
            chosen = [index for index in known if is_called(index, wanted)]
            if chosen or wanted in tables:
                break
        else:
            raise unknown_name("table or index", name, [*tables, *map(str, known)])
        found.update({index.oid: index for one in chosen for index in parts(known, one)})
    return list(found.values())


def is_called(index: IndexState, name: str) -> bool:
    """Whether a name, with or without schema public, is an index's or its table's."""
    return name in (str(index), f"{index.schema}.{index.name}", index.table, f"{index.table_schema}.{index.table_name}")


def parts(known: Sequence[IndexState], index: IndexState) -> list[IndexState]:
    """An index, or those of the partitions for one that only stands for them."""
    if not index.is_partitioned:
        return [index]
    return [part for below in known if below.parent == index.oid for part in parts(known, below)]
