"""Deleting what one rule finds, in transactions of a fifth of a second that wait for nobody.

Each transaction takes a range of the table. Where somebody uses a row of it, the other rows go and
that one stays for the next run. What a transaction deletes is archived, read back and noted before
it commits; whatever ends it before that leaves the rows where they were.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import translate
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.batch import Batch, ClosureBatch, Counts, SimpleBatch
from iacalls_cli.operations.maintain.interrupts import held_back
from iacalls_cli.operations.maintain.plan import RulePlan
from iacalls_cli.operations.maintain.ranges import MOST_SECONDS, Pace, Range, walk
from iacalls_cli.operations.maintain.references import Relation
from iacalls_cli.operations.maintain.settling import outcome_of
from iacalls_cli.operations.maintain.writer import ArchiveWriter
from iacalls_cli.queries import load_query

LOCK_WAIT = "100ms"
TOO_LONG, LOCKED = "57014", "55P03"
# What another session causes, and what goes by: a lock, a deadlock, changes at the same time.
PASSING = (LOCKED, "40P01", "40001")
# How long a table that somebody locks is tried again, with waits that grow and are never the same.
PATIENCE_SECONDS, LONGEST_WAIT_SECONDS = 60.0, 5.0
PAUSE_SHARE = 0.1
Progress = Callable[[str, int, int], None]


@dataclass
class Tally:
    """What a rule's sweep did. `in_use` rows were left to who used them; `longest` is a transaction's seconds."""

    deleted: int = 0
    cascaded: int = 0
    changed: int = 0
    in_use: int = 0
    transactions: int = 0
    longest: float = 0.0
    last: float = 0.0
    is_whole: bool = False

    def add(self, counts: Counts) -> None:
        """Count what a transaction did."""
        self.deleted += counts.deleted
        self.cascaded += counts.cascaded
        self.changed += counts.changed
        self.in_use += counts.in_use


@dataclass
class Sweep:
    """Deletes by rules, on one connection.

    `deadline` is a time.monotonic(); `pause` goes between transactions, a tenth of the last one unless given.
    """

    connection: Connection
    writer: ArchiveWriter | None
    block_size: int
    deadline: float
    pause: timedelta | None
    progress: Progress
    tallies: dict[str, Tally] = field(default_factory=dict)

    def run(self, plan: RulePlan) -> Tally:
        """Delete what one rule finds; raises `DatabaseError` for a table that stays locked, or with the server's words.

        The tally says how far it came: also of a run that was broken off.
        """
        rule = plan.bound.rule
        tally = self.tallies[rule.name] = Tally()
        writer = self.writer if rule.has_archive else None
        self.connection.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
        batch: Batch = (SimpleBatch if plan.is_simple else ClosureBatch)(self.connection, plan, writer)
        for relation in plan.closure.schema.leaves(plan.bound.oid):
            steps = walk(self.connection, relation, self.block_size)
            pace = Pace(steps.first_width, least=steps.first_width / 8)
            while (piece := steps.next(pace.width, rule.table)) is not None:
                if time.monotonic() >= self.deadline:
                    return tally
                if self.take(batch, relation, piece, pace, tally):
                    steps.advance(piece)
                    self.progress(f"{relation}, pages", *steps.progress)
                    time.sleep(tally.last * PAUSE_SHARE if self.pause is None else self.pause.total_seconds())
        tally.is_whole = True
        return tally

    def take(self, batch: Batch, relation: Relation, piece: Range, pace: Pace, tally: Tally) -> bool:
        """Delete within one range; returns whether that is done, and not to be tried with less."""
        until, skips, tries = time.monotonic() + PATIENCE_SECONDS, False, 0
        while True:
            began = time.monotonic()
            limit = int(MOST_SECONDS * 1000) if pace.width > 1 else 0
            self.connection.execute(f"SET statement_timeout = {limit}")
            try:
                self.transact(batch, relation, piece, tally, skips=skips)
            except psycopg.Error as error:
                if error.sqlstate == TOO_LONG and limit and time.monotonic() - began >= MOST_SECONDS * 0.9:
                    pace.was_too_wide()
                    return False
                if error.sqlstate not in PASSING:
                    raise
                holders = self.holders(batch)
                if error.sqlstate == LOCKED and not holders:
                    # Somebody uses a row, not the table: the others go without it.
                    if batch.narrows:
                        is_narrowest = not pace.was_too_wide()
                        tally.in_use += is_narrowest
                        return is_narrowest
                    if not skips:
                        skips = True
                        continue
                if time.monotonic() > min(until, self.deadline):
                    raise locked(relation, holders, error) from error
                tries += 1
                # Jittered, so that two that wait for one another do not meet again.
                wait = min(0.1 * 2**tries, LONGEST_WAIT_SECONDS)
                time.sleep(random.uniform(0.5, 1.5) * wait)  # noqa: S311, it is no secret
                continue
            seconds = time.monotonic() - began
            tally.transactions += 1
            tally.longest, tally.last = max(tally.longest, seconds), seconds
            pace.took(seconds, piece.share)
            return True

    def transact(self, batch: Batch, relation: Relation, piece: Range, tally: Tally, *, skips: bool) -> None:
        """One transaction, and what the archive is to know of its end."""
        writer, counts = batch.writer, Counts()
        with ExitStack() as held:
            try:
                with self.connection.transaction():
                    counts = batch.delete(relation, piece, skips=skips)
                    held.enter_context(held_back())
                    if writer is not None and writer.open_parts:
                        writer.seal(fetch(self.connection, load_query("maintain/xid"))[0]["xid"])
            except BaseException:
                if writer is not None and settle(self.connection, writer):
                    tally.add(counts)
                raise
            if writer is not None:
                writer.committed()
            tally.add(counts)

    def holders(self, batch: Batch) -> list[str]:
        """The sessions that keep everybody from writing to a table that the batch writes to."""
        rows = [
            row
            for oid in batch.plan.closure.written(batch.plan.bound.oid)
            for row in fetch(self.connection, load_query("maintain/lockers"), {"oid": oid})
        ]
        return [f"session {row['pid']} ({row['application'] or 'without a name'}, {row['mode']})" for row in rows]


def settle(connection: Connection, writer: ArchiveWriter) -> bool:
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


def locked(relation: Relation, holders: Sequence[str], error: psycopg.Error) -> IacallsError:
    """The error that tells who keeps us from a table."""
    if not holders:
        return translate(error)
    return DatabaseError(
        f"{relation} is locked by {', '.join(holders)}",
        "what was deleted so far stays deleted; try again when that is over",
        LOCKED,
    )
