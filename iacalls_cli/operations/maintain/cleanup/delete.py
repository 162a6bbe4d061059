"""Deleting what one rule finds, in transactions of a fifth of a second that wait for nobody.

Each transaction takes a range of the table. Where somebody uses a row of it, the other rows go and
that one stays for the next run. What a transaction deletes is archived, read back and noted before
it commits; whatever ends it before that leaves the rows where they were.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import CANCELLED, LOCK_NOT_AVAILABLE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.archive.recovery import outcome_of
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter
from iacalls_cli.operations.maintain.cleanup.batch import Batch, Counts, SimpleBatch
from iacalls_cli.operations.maintain.cleanup.cascade_batch import CascadeBatch
from iacalls_cli.operations.maintain.cleanup.plan import RulePlan, count_left
from iacalls_cli.operations.maintain.cleanup.ranges import MOST_SECONDS, BatchSize, Range, walk
from iacalls_cli.operations.maintain.interrupts import held_back
from iacalls_cli.operations.maintain.locks import BLOCKING_WRITES, PASSING, name_lock_holders, retry, without_timeouts
from iacalls_cli.operations.maintain.relations import Relation
from iacalls_cli.queries import load_query

LOCK_WAIT = "100ms"
# How long the server keeps the locks of a transaction whose client says nothing more, being cut off or halted.
SILENCE = "20s"
# How long a table that somebody locks is tried again, with waits that grow and are never the same.
PATIENCE_SECONDS, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 0.2, 5.0
# How often a table is gone through where others move rows meanwhile.
MOST_PASSES = 3
Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]


@dataclass
class RuleStats:
    """What the deletion by one rule did; `longest` is a transaction's seconds, `skipped_locked` counts rows in use.

    `changed` counts references that were lost. The rows are told by the oid of their table. `remaining` is a
    last count of the rows that could still go; what is locked explains so many of them as were `skipped_locked`.
    """

    deleted_rows: Counter[int] = field(default_factory=Counter)
    cascaded_rows: Counter[int] = field(default_factory=Counter)
    changed_rows: Counter[int] = field(default_factory=Counter)
    skipped_locked: int = 0
    transactions: int = 0
    longest: float = 0.0
    last: float = 0.0
    remaining: int = 0
    is_stopped: bool = False
    is_whole: bool = False

    def add(self, counts: Counts) -> None:
        """Count what a transaction did."""
        self.deleted_rows += counts.deleted
        self.cascaded_rows += counts.cascaded
        self.changed_rows += counts.changed
        self.skipped_locked += counts.skipped_locked

    @property
    def deleted(self) -> int:
        """Old rows that were deleted."""
        return self.deleted_rows.total()

    @property
    def cascaded(self) -> int:
        """Rows that went with them."""
        return self.cascaded_rows.total()

    @property
    def changed(self) -> int:
        """References to them that others lost."""
        return self.changed_rows.total()

    @property
    def touched(self) -> set[int]:
        """The tables that were written to."""
        return {oid for rows in (self.deleted_rows, self.cascaded_rows, self.changed_rows) for oid in +rows}


@dataclass
class RuleDeletion:
    """Deletes by rules, on one connection.

    `deadline` is a time.monotonic(); `pause` goes between transactions, as long as the last one took unless
    given: so the application has the machine for half of the time.
    """

    connection: Connection
    writer: ArchiveWriter | None
    block_size: int
    deadline: float
    pause: timedelta | None
    progress: Progress
    stats: dict[str, RuleStats] = field(default_factory=dict)

    def run(self, plan: RulePlan) -> RuleStats:
        """Delete what one rule finds; raises `DatabaseError` for a table that stays locked, or with the server's words.

        The statistics say how far it came: also of a run that was broken off.
        """
        rule = plan.bound.rule
        stats = self.stats[rule.name] = RuleStats()
        writer = self.writer if rule.has_archive else None
        self.connection.execute(f"SET idle_in_transaction_session_timeout = '{SILENCE}'")
        batch: Batch = (SimpleBatch if plan.is_simple else CascadeBatch)(self.connection, plan, writer)
        with without_timeouts(self.connection, LOCK_WAIT):
            for _ in range(MOST_PASSES):
                stats.skipped_locked = 0
                if not self.go_through(batch, stats):
                    stats.is_stopped = True
                    break
                # Rows that were updated, or whose table was rewritten, may be in a range that was done before.
                relation = plan.cascades.schema.relations[plan.cascades.oid]
                stats.remaining = self.retry_locked(batch, relation, partial(count_left, self.connection, plan))
                stats.is_whole = stats.remaining <= stats.skipped_locked
                if stats.is_whole:
                    break
        return stats

    def go_through(self, batch: Batch, stats: RuleStats) -> bool:
        """Go through the table once; returns whether the time was enough for all of it."""
        rule = batch.plan.bound.rule
        for relation in batch.plan.cascades.schema.leaves(batch.plan.bound.oid):
            steps = self.retry_locked(batch, relation, partial(walk, self.connection, relation, self.block_size))
            batch_size = BatchSize(steps.first_width, least=steps.first_width / 8)
            while piece := self.retry_locked(batch, relation, partial(steps.next, batch_size.width, rule.table)):
                if time.monotonic() >= self.deadline:
                    return False
                if self.delete_range(batch, relation, piece, batch_size, stats):
                    steps.advance(piece)
                    self.progress(f"{relation}, pages", *steps.progress)
                    self.rest(stats.last if self.pause is None else self.pause.total_seconds())
        return True

    def rest(self, seconds: float) -> None:
        """Pause between two transactions, never beyond the time there is."""
        time.sleep(max(0.0, min(seconds, self.deadline - time.monotonic())))

    def delete_range(
        self, batch: Batch, relation: Relation, piece: Range, batch_size: BatchSize, stats: RuleStats
    ) -> bool:
        """Delete within one range; returns False if it took too long, and is to be tried with less."""
        limit, skips = int(MOST_SECONDS * 1000) if batch_size.width > 1 else 0, False

        def delete() -> bool:
            nonlocal skips
            began = time.monotonic()
            try:
                self.transact(batch, relation, piece, stats, limit, skips=skips)
            except DatabaseError as error:
                if error.sqlstate == CANCELLED and limit and time.monotonic() - began >= MOST_SECONDS * 0.9:
                    batch_size.was_too_wide()
                    return False
                if error.sqlstate != LOCK_NOT_AVAILABLE or skips or self.holders(batch):
                    raise
                # Somebody uses a row, not the table: the others go without it.
                skips = True
                return delete()
            seconds = time.monotonic() - began
            stats.transactions += 1
            stats.longest, stats.last = max(stats.longest, seconds), seconds
            batch_size.took(seconds, piece.share)
            return True

        return self.retry_locked(batch, relation, delete)

    def retry_locked(self, batch: Batch, relation: Relation, action: Callable[[], Result]) -> Result:
        """Do something with a table, again after a while where somebody locks it; the error tells who does."""
        until = min(time.monotonic() + PATIENCE_SECONDS, self.deadline)
        try:
            return retry(action, self.rest, waits=growing_waits(until))
        except DatabaseError as error:
            if error.sqlstate not in PASSING or not (holders := self.holders(batch)):
                raise
            raise DatabaseError(
                f"{relation} is locked by {holders}",
                "what was deleted so far stays deleted; try again when that is over",
                LOCK_NOT_AVAILABLE,
            ) from None

    def transact(
        self, batch: Batch, relation: Relation, piece: Range, stats: RuleStats, limit: int, *, skips: bool
    ) -> None:
        """One transaction, its statements of `limit` ms at most, and what the archive is to know of its end."""
        writer, counts = batch.writer, Counts()
        with ExitStack() as held:
            try:
                with self.connection.transaction():
                    self.connection.execute(f"SET LOCAL statement_timeout = {limit}")
                    counts = batch.delete(relation, piece, skips=skips)
                    held.enter_context(held_back())
                    if writer is not None and writer.open_parts:
                        writer.seal(fetch(self.connection, load_query("maintain/xid"))[0]["xid"])
            except BaseException:
                if writer is not None and resolve_outcome(self.connection, writer):
                    stats.add(counts)
                raise
            if writer is not None:
                writer.committed()
            stats.add(counts)

    def holders(self, batch: Batch) -> str:
        """Return who keeps everybody from writing to a table that the batch writes to; '' for nobody."""
        return name_lock_holders(self.connection, *batch.plan.cascades.written(), modes=BLOCKING_WRITES)


def growing_waits(until: float) -> Iterator[float]:
    """Yield how long to wait before each further attempt, as long as a time.monotonic() is not over."""
    wait = FIRST_WAIT_SECONDS
    while time.monotonic() <= until:
        yield wait
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def resolve_outcome(connection: Connection, writer: ArchiveWriter) -> bool:
    """After a transaction that broke off: take its parts back, unless it committed, which is returned.

    Where nobody can say, they stay open.
    """
    outcome = "aborted"
    if writer.xid:
        try:
            outcome = outcome_of(connection, writer.xid)
        except IacallsError:  # the session is gone: whoever next opens the archive asks
            return False
    if outcome == "committed":
        writer.committed()
    elif outcome == "aborted":
        writer.aborted()
    return outcome == "committed"
