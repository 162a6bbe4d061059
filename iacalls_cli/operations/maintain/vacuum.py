"""VACUUM of many tables: a plan in the order of need, several at a time, watched from a session of its own."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.tables import TableState, by_need, find_tables, leaves, read_tables
from iacalls_cli.operations.maintain.vacuum_table import VacuumResult, vacuum_table
from iacalls_cli.operations.maintain.workers import Progress, ProgressMonitor, Worker, run_watched

# Of more tables, the largest ones are shown while they are worked on.
SHOWN_TABLES = 20


@dataclass(frozen=True)
class VacuumPlan:
    """The tables to vacuum, in order, and the `not_permitted` ones, which this role may not."""

    tables: tuple[TableState, ...]
    not_permitted: tuple[TableState, ...]
    is_full: bool

    @property
    def size(self) -> int:
        """Bytes of all the tables together, as far as they are known."""
        return sum(table.size or 0 for table in self.tables)


def plan_vacuum(connection: Connection, names: Sequence[str], *, is_full: bool = False) -> VacuumPlan:
    """The named tables, or all of them, in the order of need; with `is_full` the smallest first.

    The room that small tables give back may be what a large one needs. Raises `UsageError` for a
    table that does not exist, and `DatabaseError` where this role may vacuum none.
    """
    known = read_tables(connection)
    chosen = leaves(known, find_tables(known, names) if names else known)
    allowed = [table for table in chosen if table.is_allowed]
    not_permitted = tuple(table for table in chosen if not table.is_allowed)
    if not_permitted and not allowed:
        raise not_permitted_reason(connection, "vacuum", not_permitted)
    ordered = sorted(allowed, key=lambda table: (table.size or 0, str(table))) if is_full else by_need(allowed)
    return VacuumPlan(tuple(ordered), not_permitted, is_full)


def not_permitted_reason(connection: Connection, action: str, not_permitted: Sequence[object]) -> DatabaseError:
    """The error for a role that may do nothing of what it was asked for."""
    named = f"none of {len(not_permitted)} tables" if len(not_permitted) > 1 else f"not {not_permitted[0]}"
    return DatabaseError(
        f"the role {connection.info.user} may {action} {named}",
        f"{action} as the tables' owner, or with a role that was granted MAINTAIN (PostgreSQL 17)",
        INSUFFICIENT_PRIVILEGE,
    )


def run_vacuum(
    plan: VacuumPlan, connections: Sequence[Connection], watcher: Connection, progress: Progress
) -> Generator[VacuumResult, None, None]:
    """Vacuum what is planned, one table a session at a time; hand over each result as it comes.

    Plain VACUUM makes way for sessions that wait behind it for longer than our own lock_timeout and
    would block others. What cannot be done is told in the result. Raises `ConnectionFailed`.
    """
    bars = Bars(progress, plan.tables)

    def work(worker: Worker[TableState], table: TableState) -> VacuumResult:
        try:
            return vacuum_table(
                worker.connection,
                table.schema,
                table.name,
                is_full=plan.is_full,
                pause=worker.pause,
                cancelled_for=worker.cancelled_for,
            )
        except DatabaseError as error:
            return VacuumResult(table.schema, table.name, "failed", problem=error.message, sqlstate=error.sqlstate)

    watch = ProgressMonitor(watcher, "maintain/vacuum-progress", bars.show, yields=not plan.is_full)
    for result in run_watched(connections, plan.tables, work, watch):
        if result.state == "vacuumed":
            bars.finish(result, result.before.pages if result.before else 0)
        yield result
    for table in plan.not_permitted:
        problem = f"the role {watcher.info.user} may not vacuum it"
        yield VacuumResult(table.schema, table.name, "skipped", problem=problem, sqlstate=INSUFFICIENT_PRIVILEGE)


class Bars:
    """What is shown of tables while they are worked on: their pages, of the largest ones only."""

    def __init__(self, progress: Progress, tables: Sequence[TableState]) -> None:
        self.progress = progress
        largest = sorted(tables, key=lambda table: -(table.size or 0))[:SHOWN_TABLES]
        self.totals = {str(table): 1 for table in largest}

    def show(self, table: TableState, phase: str, done: int, total: int) -> None:
        """How far one is; its last page is only done when all is."""
        if str(table) in self.totals and total > 0:
            self.totals[str(table)] = total
            self.progress(f"{table} (pages)", min(done, total - 1), total)

    def finish(self, table: object, pages: int = 0) -> None:
        """One is done; `pages` is how many it has, where that is known."""
        if str(table) in self.totals:
            total = pages or self.totals[str(table)]
            self.progress(f"{table} (pages)", total, total)
