"""ANALYZE of tables whose statistics are older than many of their rows."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.index_functions import explain_missing_name, index_path
from iacalls_cli.operations.maintain.locks import lock_problem, name_lock_holders, retry, without_timeouts
from iacalls_cli.operations.maintain.tables import TableState, find_tables, read_tables
from iacalls_cli.operations.maintain.vacuum import Bars, not_permitted_reason
from iacalls_cli.operations.maintain.vacuum_table import measure
from iacalls_cli.operations.maintain.workers import Progress, ProgressMonitor, Worker, run_watched
from iacalls_cli.text import relation_name


@dataclass(frozen=True)
class AnalyzePlan:
    """The tables to analyze, in order, those this role may not, and those whose statistics are `fresh`."""

    tables: tuple[TableState, ...]
    not_permitted: tuple[TableState, ...]
    fresh: tuple[TableState, ...]


@dataclass(frozen=True)
class AnalyzeResult:
    """What became of one table. `state` is analyzed, skipped or failed; `problem` says why.

    `changed_rows` is how many had changed since the last ANALYZE, `rows` the new estimate of all.
    """

    schema: str
    name: str
    state: str
    changed_rows: int = 0
    rows: int | None = None
    seconds: float = 0.0
    problem: str = ""
    pages: int = 0

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)


def plan_analyze(connection: Connection, names: Sequence[str], *, is_all: bool) -> AnalyzePlan:
    """The named tables, or those whose statistics are stale, or all; most changed rows first.

    A partitioned table has statistics of its own, and is analyzed with its partitions. Raises
    `UsageError` for a table that does not exist, and `DatabaseError` where this role may analyze none.
    """
    known = read_tables(connection)
    chosen = find_tables(known, names) if names else known
    changed = {table.oid: changed_rows(known, table) for table in chosen}
    stale = [table for table in chosen if names or is_all or is_stale(known, table)]
    allowed = [table for table in stale if table.is_allowed and not has_parent_in(stale, known, table)]
    not_permitted = tuple(table for table in stale if not table.is_allowed)
    if chosen and not any(table.is_allowed for table in chosen):
        raise not_permitted_reason(connection, "analyze", chosen)
    fresh = tuple(table for table in chosen if table not in stale)
    return AnalyzePlan(
        tuple(sorted(allowed, key=lambda table: (-changed[table.oid], str(table)))),
        not_permitted,
        fresh,
    )


def partitions(known: Sequence[TableState], table: TableState) -> list[TableState]:
    """The partitions of a table, and theirs; none of an ordinary one."""
    parts = [part for part in known if part.parent == table.oid]
    return parts + [below for part in parts for below in partitions(known, part)]


def changed_rows(known: Sequence[TableState], table: TableState) -> int:
    """How many rows changed since the last ANALYZE, in all partitions."""
    return table.changed_rows + sum(part.changed_rows for part in partitions(known, table))


def is_stale(known: Sequence[TableState], table: TableState) -> bool:
    """Whether statistics are out of date; of a partitioned table, when a partition's are."""
    if not table.is_partitioned:
        return table.is_stale
    return table.analyzed is None or any(part.is_stale for part in partitions(known, table))


def has_parent_in(chosen: Sequence[TableState], known: Sequence[TableState], table: TableState) -> bool:
    """Whether a table is analyzed with the partitioned one it belongs to."""
    parents = [one for one in known if one.oid == table.parent]
    return any((parent in chosen and parent.is_allowed) or has_parent_in(chosen, known, parent) for parent in parents)


def analyze_table(worker: Worker[TableState], table: TableState) -> AnalyzeResult:
    """ANALYZE one table. What the database refuses is told in the result; raises `ConnectionFailed`."""
    began = time.monotonic()
    connection = worker.connection
    statement = sql.SQL("ANALYZE {}").format(sql.Identifier(table.schema, table.name))

    def analyze() -> None:
        with index_path(connection):
            connection.execute(statement)

    try:
        with without_timeouts(connection):
            retry(analyze, worker.pause, worker.cancelled_for)
        after = measure(connection, table.oid)
    except DatabaseError as error:
        holders = name_lock_holders(connection, table.oid)
        problem = explain_missing_name(connection, table.oid, error) or lock_problem(
            error, holders, worker.cancelled_for()
        )
        return AnalyzeResult(table.schema, table.name, "failed", seconds=time.monotonic() - began, problem=problem)
    rows = after.live_rows if after and not table.is_partitioned else None
    pages = after.pages if after else 0
    spent = time.monotonic() - began
    return AnalyzeResult(table.schema, table.name, "analyzed", table.changed_rows, rows, spent, pages=pages)


def run_analyze(
    plan: AnalyzePlan, connections: Sequence[Connection], watcher: Connection, progress: Progress
) -> Generator[AnalyzeResult, None, None]:
    """Analyze what is planned, and hand over each result as it comes; see `run_vacuum`."""
    bars = Bars(progress, plan.tables)
    watch = ProgressMonitor(watcher, "maintain/analyze-progress", bars.show)
    for result in run_watched(connections, plan.tables, analyze_table, watch):
        if result.state == "analyzed":
            bars.finish(result, result.pages)
        yield result
    for table in plan.not_permitted:
        problem = f"the role {watcher.info.user} may not analyze it"
        yield AnalyzeResult(table.schema, table.name, "skipped", problem=problem)
