"""The tables that can be maintained, how much each needs it, and finding them by what people type."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.maintain.locks import retry
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# What autovacuum goes by unless it is set otherwise: a share of the rows and a few more.
FEW_ROWS = 50
DEAD_SHARE = 0.2
FEW_INSERTS = 1000
INSERTED_SHARE = 0.2
CHANGED_SHARE = 0.1
# Of the age at which the server vacuums by force, and does not stop for anybody.
OLD_SHARE = 0.5


@dataclass(frozen=True)
class TableState:
    """A table, partition, partitioned table or materialized view, by the server's statistics.

    `size` is in bytes, of all its parts; None for what is locked. Chunks are the rows of its TOAST
    table. Ages are shares of what the server allows before it vacuums by force.
    """

    oid: int
    schema: str
    name: str
    kind: str
    parent: int | None
    is_allowed: bool
    size: int | None
    tablespace: int
    estimated_rows: int
    live_rows: int
    dead_rows: int
    live_chunks: int
    dead_chunks: int
    inserted_rows: int
    changed_rows: int
    is_vacuumed: bool
    analyzed: str | None
    transaction_age: float
    multixact_age: float

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)

    @property
    def is_partitioned(self) -> bool:
        """Whether it only stands for its partitions, and holds no rows itself."""
        return self.kind == "p"

    @property
    def dead_share(self) -> float:
        """Dead rows as a share of all, of the table or of its TOAST table, whichever is more."""
        pairs = (self.live_rows, self.dead_rows), (self.live_chunks, self.dead_chunks)
        return max(dead / (live + dead) if live + dead else 0.0 for live, dead in pairs)

    @property
    def age(self) -> float:
        """The larger one of the two ages."""
        return max(self.transaction_age, self.multixact_age)

    def need(self) -> tuple[int, str]:
        """How much it needs a VACUUM, 0 for most, and why, in words; '' for no need."""
        if self.age > OLD_SHARE:
            return 0, f"{self.age:.0%} of the age at which the server vacuums by force"
        rows, chunks = self.dead_rows, self.dead_chunks
        if rows > FEW_ROWS + DEAD_SHARE * self.live_rows or chunks > FEW_ROWS + DEAD_SHARE * self.live_chunks:
            return 1, f"{self.dead_share:.0%} of its rows are dead"
        if not self.is_vacuumed and self.live_rows:
            return 2, "it was never vacuumed"
        if self.inserted_rows > FEW_INSERTS + INSERTED_SHARE * self.live_rows:
            return 3, f"{self.inserted_rows:,} rows came since its last VACUUM"
        return 4, ""

    @property
    def is_stale(self) -> bool:
        """Whether its statistics are older than many of its rows."""
        is_known = self.analyzed is not None or self.estimated_rows >= 0
        return not is_known or self.changed_rows > FEW_ROWS + CHANGED_SHARE * self.live_rows


def read_tables(connection: Connection) -> list[TableState]:
    """All tables and materialized views of the users, by name; raises `DatabaseError`."""
    # A lock that comes between looking for locks and asking for a size is met by looking again.
    return [TableState(**row) for row in retry(lambda: fetch(connection, load_query("maintain/tables")))]


def find_tables(tables: Sequence[TableState], names: Iterable[str]) -> list[TableState]:
    """The tables of these names, each once; raises `UsageError` for one that does not exist."""
    found: dict[int, TableState] = {}
    for name in names:
        table = find_table(tables, name)
        if table is None:
            raise unknown_name("table", name, [str(table) for table in tables])
        found[table.oid] = table
    return list(found.values())


def find_table(tables: Sequence[TableState], name: str) -> TableState | None:
    """The table of a name: as typed, else as SQL would read it; of schema public unless there is a dot."""
    spelled = {(str(table), f"{table.schema}.{table.name}"): table for table in tables}
    for wanted in (name, name.lower()):
        for names, table in spelled.items():
            if wanted in names:
                return table
    return None


def unknown_name(what: str, name: str, known: Sequence[str]) -> UsageError:
    """The error for something that does not exist, with what is called nearly so."""
    near = get_close_matches(name, known)
    listing = (
        "`iacalls monitor indexes` lists the indexes" if "index" in what else "`iacalls db tables` lists the tables"
    )
    hint = f"did you mean {' or '.join(near)}?" if near else listing
    return UsageError(f"there is no {what} {name} in this database", hint)


def leaves(tables: Sequence[TableState], chosen: Iterable[TableState]) -> list[TableState]:
    """The chosen tables that hold rows, with the partitions of those that do not."""
    found: dict[int, TableState] = {}
    for table in chosen:
        if table.is_partitioned:
            parts = [part for part in tables if part.parent == table.oid]
            found.update({part.oid: part for part in leaves(tables, parts)})
        else:
            found[table.oid] = table
    return list(found.values())


def by_need(tables: Iterable[TableState]) -> list[TableState]:
    """Tables in the order in which they need a VACUUM, the most urgent first."""
    return sorted(tables, key=lambda table: (table.need()[0], -table.age if not table.need()[0] else 0,
                                             -(table.dead_rows + table.dead_chunks), str(table)))  # fmt: skip
