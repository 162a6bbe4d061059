"""REINDEX CONCURRENTLY of many indexes: leftovers first, then one after the other, the most wasteful first."""

import re
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.indexes import IndexState, find_indexes, read_indexes
from iacalls_cli.operations.maintain.rebuild_index import Attempt, ReindexResult, reindex_index
from iacalls_cli.operations.maintain.reindex_leftovers import Suspect, drop_copies, drop_leftover, find_suspects
from iacalls_cli.operations.maintain.tables import read_tables
from iacalls_cli.operations.maintain.vacuum import not_permitted_reason
from iacalls_cli.operations.maintain.vacuum_full import free_bytes
from iacalls_cli.operations.maintain.workers import Progress, ProgressMonitor, Tell, Worker, run_watched
from iacalls_cli.queries import load_query
from iacalls_cli.text import pretty_size

# A new index stands beside the old one, and what is sorted for it takes about the same again.
ROOM_FACTOR = 2
# As `name_session` names one.
SESSION = re.compile(r"session (\d+)\b")
# Where a build is, by the phase that the server reports: how much comes before it, and how much it is.
PHASES = {
    "building index: scanning": (0.0, 0.4),
    "building index: sorting": (0.4, 0.1),
    "building index: loading": (0.5, 0.2),
    "building index": (0.0, 0.7),
    "index validation: scanning index": (0.7, 0.1),
    "index validation: sorting": (0.8, 0.05),
    "index validation: scanning table": (0.85, 0.1),
}


@dataclass(frozen=True)
class Task:
    """An index to rebuild, and why."""

    index: IndexState
    reason: str


@dataclass(frozen=True)
class ReindexPlan:
    """Leftovers to remove, indexes to rebuild in order, and what is left alone, with the reasons.

    `fine` are those that need nothing, `unknown` those of which nobody can tell. `before` are the
    oids of all indexes.
    """

    leftovers: tuple[IndexState, ...]
    tasks: tuple[Task, ...]
    skipped: tuple[Suspect, ...]
    fine: tuple[IndexState, ...]
    unknown: tuple[IndexState, ...]
    is_room_known: bool
    is_named: bool
    before: frozenset[int]

    @property
    def size(self) -> int:
        """Bytes of all the indexes to rebuild."""
        return sum(task.index.size or 0 for task in self.tasks)


def plan_reindex(connection: Connection, names: Sequence[str], *, is_all: bool) -> ReindexPlan:
    """The named indexes and those of named tables, or those that need it, or all.

    Raises `UsageError` for a name that does not exist, and `DatabaseError` where this role may
    rebuild nothing.
    """
    known = read_indexes(connection)
    role = connection.info.user
    if names:
        chosen = find_indexes(known, [str(table) for table in read_tables(connection)], names)
    else:
        chosen = [index for index in known if not index.is_partitioned]
    if chosen and not any(index.is_allowed for index in chosen):
        raise not_permitted_reason(connection, "reindex", sorted({index.table for index in chosen}))
    tables = {index.table_oid for index in chosen}
    leftovers = tuple(index for index in known if index.table_oid in tables and index.is_leftover and index.is_allowed)
    skipped = find_suspects([index for index in known if index.table_oid in tables], role)
    candidates = [index for index in chosen if not index.is_called_leftover]
    tasks: list[Task] = []
    fine: list[IndexState] = []
    unknown: list[IndexState] = []
    is_room_known = True
    for index in sorted(candidates, key=lambda one: (one.is_valid, -one.wasted, -(one.size or 0), str(one))):
        reason = index.need or ("named" if names else "all" if is_all else "")
        if not reason:
            (unknown if index.is_unknown else fine).append(index)
            continue
        room = free_bytes(connection, index.tablespace)
        is_room_known = is_room_known and room is not None
        if problem := why_not(index, role, room):
            skipped.append(Suspect(index, problem))
        else:
            tasks.append(Task(index, reason))
    return ReindexPlan(
        leftovers, tuple(tasks), tuple(skipped), tuple(fine), tuple(unknown), is_room_known, bool(names),
        frozenset(index.oid for index in known),
    )  # fmt: skip


def why_not(index: IndexState, role: str, room: int | None) -> str:
    """Why an index cannot be rebuilt; '' where it can. `room` is what is free on its disk, if that is known."""
    if index.is_exclusion:
        return "an exclusion constraint's index cannot be rebuilt while it is in use"
    if not index.is_allowed:
        whose = "a TOAST table's index, only a superuser may" if index.is_toast else f"the role {role} may not"
        return f"{whose} rebuild it"
    needed = ROOM_FACTOR * (index.guess or index.size or 0)
    if room is not None and room < needed:
        return f"it may need {pretty_size(needed)} on the server's disk, where {pretty_size(room)} are free"
    return ""


def run_reindex(
    plan: ReindexPlan,
    worker_session: Connection,
    watcher: Connection,
    wait: str,
    progress: Progress,
    tell: Tell,
) -> Generator[ReindexResult, None, None]:
    """Remove leftovers and rebuild what is planned; hand over each result as it comes.

    Left early, at an interrupt, it first removes what it would leave. Raises `ConnectionFailed`.
    """
    bars = IndexBars(progress, [task.index for task in plan.tasks])
    attempt = Attempt(wait, plan.before)
    begun: list[IndexState] = []
    blockers = Blockers()

    def work(worker: Worker[IndexState], index: IndexState) -> ReindexResult:
        if index in plan.leftovers:
            problem = drop_leftover(worker.connection, index, worker.pause)
            return ReindexResult(
                str(index), index.table, "failed" if problem else "removed", index.size, 0, problem=problem
            )
        if blocker := blockers.of(worker.connection, index.table):
            problem = f"not tried: {blocker} blocks it, as it did two others in a row"
            return ReindexResult(str(index), index.table, "failed", index.size, problem=problem)
        begun.append(index)
        try:
            result = reindex_index(worker, index, attempt)
        except DatabaseError as error:
            return ReindexResult(str(index), index.table, "failed", index.size, problem=error.message)
        if not worker.stopping.is_set():
            begun.remove(index)
        blockers.note(result)
        return result

    watch = ProgressMonitor(watcher, "maintain/reindex-progress", bars.show, tell)
    tasks = [*plan.leftovers, *(task.index for task in plan.tasks)]
    try:
        for result in run_watched([worker_session] if tasks else [], tasks, work, watch):
            if result.state == "rebuilt":
                bars.finish(result)
            yield result
    finally:
        for index in begun:
            remove_own(watcher, index, plan.before, tell)
    for suspect in plan.skipped:
        # A TOAST table's index was not asked for by whoever named the table.
        state = "failed" if plan.is_named and not suspect.index.is_toast else "skipped"
        index = suspect.index
        yield ReindexResult(str(index), index.table, state, index.size, problem=suspect.reason)


def remove_own(watcher: Connection, index: IndexState, before: frozenset[int], tell: Tell) -> None:
    """Remove what an interrupted REINDEX left, and tell what stays."""
    try:
        stays = drop_copies(watcher, index, before, time.sleep)
    except IacallsError as error:
        stays = [f"what was built of {index} may stay ({error.message}); the next run removes it"]
    for words in stays:
        tell(words)


@dataclass
class Blockers:
    """The transaction that blocked the last indexes, in a row, and their tables.

    One that blocked two of a table blocks the others of it; one that blocked indexes of two tables has an
    old snapshot, and blocks all. Each would be waited for as long.
    """

    blocker: str = ""
    tables: list[str] = field(default_factory=list)

    def note(self, result: ReindexResult) -> None:
        """Note what became of an index."""
        if result.blocked_by != self.blocker or not result.blocked_by:
            self.blocker, self.tables = result.blocked_by, []
        if result.blocked_by:
            self.tables.append(result.table)

    def of(self, connection: Connection, table: str) -> str:
        """Return who blocks the indexes of a table, if it still does; '' for nobody known."""
        is_of_all = len(set(self.tables)) > 1
        if not (is_of_all or self.tables.count(table) > 1):
            return ""
        if (session := SESSION.match(self.blocker)) and not has_transaction(connection, int(session[1])):
            self.blocker, self.tables = "", []
        return self.blocker


def has_transaction(connection: Connection, pid: int) -> bool:
    """Whether a session is still in a transaction."""
    return bool(fetch(connection, load_query("maintain/in-transaction"), {"pid": pid}))


class IndexBars:
    """How far each index is, in its pages."""

    def __init__(self, progress: Progress, indexes: Sequence[IndexState]) -> None:
        self.progress = progress
        self.pages = {str(index): index.pages for index in indexes}

    def show(self, index: IndexState, phase: str, done: int, total: int) -> None:
        """One is so far in a phase; the phases of waiting count as its end."""
        if phase.startswith(("initializing", "waiting for writers")):
            return
        before, width = next((share for name, share in PHASES.items() if phase.startswith(name)), (0.95, 0.0))
        pages = index.pages
        share = before + width * (min(done / total, 1.0) if total else 0.0)
        self.progress(f"{index} (pages)", min(int(pages * share), pages - 1), pages)

    def finish(self, result: ReindexResult) -> None:
        """One is done."""
        pages = self.pages[str(result.index)]
        self.progress(f"{result.index} (pages)", pages, pages)
