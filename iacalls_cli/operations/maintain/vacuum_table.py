"""VACUUM of one table, with what it was before and after, and what holds its dead rows back."""

import time
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import INSUFFICIENT_PRIVILEGE, UNDEFINED_TABLE
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.index_functions import explain_missing_name, index_path
from iacalls_cli.operations.maintain.locks import (
    BLOCKING_ALL,
    BLOCKING_MAINTENANCE,
    CancelledFor,
    Pause,
    lock_problem,
    name_lock_holders,
    name_session,
    nobody,
    retry,
    without_timeouts,
)
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# The first version whose sessions can be told to hand over their counts at once.
FLUSH_VERSION = 150_000
# Older ones have a process that collects them, and hands them out this late at most.
COLLECTOR_SECONDS = 0.6


@dataclass(frozen=True)
class Measure:
    """A relation at a moment: bytes on the disk (`size` is all of it), rows by the server's count."""

    size: int
    heap: int
    pages: int
    indexes: int
    live_rows: int
    dead_rows: int


@dataclass(frozen=True)
class Holder:
    """What keeps dead rows from being removed; `horizon` is the oldest transaction it may still see."""

    words: str
    horizon: str


@dataclass(frozen=True)
class VacuumResult:
    """What became of one table. `state` is vacuumed, skipped or failed.

    `problem` says why it was skipped or failed, and `sqlstate` is the server's code for that.
    `held_back` names what keeps the dead rows that stayed. A `Measure` is None where the table
    could not be looked at for another session's lock.
    """

    schema: str
    name: str
    state: str
    before: Measure | None = None
    after: Measure | None = None
    seconds: float = 0.0
    held_back: str = ""
    problem: str = ""
    sqlstate: str = ""

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)

    @property
    def freed(self) -> int:
        """Bytes that went back to the system; negative where the table grew meanwhile."""
        return self.before.size - self.after.size if self.before and self.after else 0


def vacuum_table(
    connection: Connection,
    schema: str,
    name: str,
    *,
    is_full: bool = False,
    pause: Pause = time.sleep,
    cancelled_for: CancelledFor = nobody,
) -> VacuumResult:
    """VACUUM (ANALYZE) one table or materialized view, in a session that writes and is in no transaction.

    It runs as long as it needs; each wait for a lock is as short as the session's lock_timeout, and
    is tried again a few times, with a `pause` between. What the database refuses is told in the
    result; only a lost connection is raised, as `ConnectionFailed`. Plain VACUUM lets reads and
    writes go on. `is_full` rewrites the table under ACCESS EXCLUSIVE.
    """
    began = time.monotonic()
    found = fetch(connection, load_query("maintain/relation"), {"schema": schema, "name": name})
    if not found:
        problem = f"there is no table {relation_name(schema, name)} any more"
        return VacuumResult(schema, name, "failed", problem=problem, sqlstate=UNDEFINED_TABLE)
    oid = found[0]["oid"]
    if not found[0]["is_allowed"]:  # VACUUM itself would only warn
        problem = f"the role {connection.info.user} may not vacuum it"
        return VacuumResult(schema, name, "skipped", problem=problem, sqlstate=INSUFFICIENT_PRIVILEGE)
    options = sql.SQL("FULL, ANALYZE" if is_full else "ANALYZE")
    statement = sql.SQL("VACUUM ({}) {}").format(options, sql.Identifier(schema, name))
    before: Measure | None = None
    holders: list[Holder] = []

    def vacuum() -> None:
        nonlocal before, holders
        before, holders = measure(connection, oid), horizon_holders(connection)
        with index_path(connection):
            connection.execute(statement)

    try:
        with without_timeouts(connection):
            retry(vacuum, pause, cancelled_for)
    except DatabaseError as error:
        holders_of_lock = name_lock_holders(connection, oid, modes=BLOCKING_ALL if is_full else BLOCKING_MAINTENANCE)
        problem = explain_missing_name(connection, oid, error) or lock_problem(error, holders_of_lock, cancelled_for())
        spent = time.monotonic() - began
        return VacuumResult(schema, name, "failed", before, None, spent, problem=problem, sqlstate=error.sqlstate)
    if connection.info.server_version < FLUSH_VERSION:
        pause(COLLECTOR_SECONDS)
    try:
        after = measure(connection, oid)
    except DatabaseError:  # somebody locked it at once
        after = None
    held = still_held(connection, holders) if after and after.dead_rows else ""
    return VacuumResult(schema, name, "vacuumed", before, after, time.monotonic() - began, held)


def measure(connection: Connection, relation: int) -> Measure | None:
    """A relation's sizes and rows; None for one that is gone.

    Raises `DatabaseError` where another session keeps it locked: sizes need a lock too.
    """
    flush_counts(connection)
    found = fetch(connection, load_query("maintain/measure"), {"relation": relation})
    return Measure(**found[0]) if found and found[0]["size"] is not None else None


def flush_counts(connection: Connection) -> None:
    """Have this session's own deletes and updates counted: the server waits up to a second with that."""
    if connection.info.server_version >= FLUSH_VERSION:
        connection.execute("SELECT pg_stat_force_next_flush()")


def horizon_holders(connection: Connection) -> list[Holder]:
    """What may keep dead rows of this database from being removed now, the oldest first."""
    return [
        Holder(
            name_session(row["name"], row["application"], row["since"])
            if row["kind"] == "session"
            else f"{row['kind']} {row['name']} ({row['application']})"
            + (f" since {row['since']}" if row["since"] else ""),
            row["horizon"],
        )
        for row in fetch(connection, load_query("maintain/horizon-holders"))
    ]


def still_held(connection: Connection, before: list[Holder]) -> str:
    """Of what could hold rows back when a VACUUM began, what does so still; the oldest, and how many more.

    What ended meanwhile lets the next VACUUM remove those rows.
    """
    try:
        staying = set(horizon_holders(connection))
    except DatabaseError:
        return ""
    held = [holder.words for holder in before if holder in staying]
    return held[0] + (f" and {len(held) - 1} more" if len(held) > 1 else "") if held else ""
