"""Locks that maintenance waits for: briefly, a few times, and then it says who holds them."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import repeat
from typing import Any, TypeVar

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import CANCELLED, DEADLOCK, LOCK_NOT_AVAILABLE, SERIALIZATION_FAILURE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.queries import load_query

ATTEMPTS = 3
PAUSE_SECONDS = 1.0
NAMED_HOLDERS = 3
# The modes of lock that conflict with what reads, writes and maintenance take of a table, and with every lock.
BLOCKING_READS = ("AccessExclusiveLock",)
BLOCKING_WRITES = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", *BLOCKING_READS)
BLOCKING_MAINTENANCE = ("ShareUpdateExclusiveLock", *BLOCKING_WRITES)
BLOCKING_ALL = ("AccessShareLock", "RowShareLock", "RowExclusiveLock", *BLOCKING_MAINTENANCE)
# A client that is killed says no farewell: the server looks after it while it works for it.
CLIENT_CHECK = "2s"

# What other sessions cause, and what passes: a lock, a deadlock, changes at the same time.
PASSING = (LOCK_NOT_AVAILABLE, DEADLOCK, SERIALIZATION_FAILURE)
Result = TypeVar("Result")
Pause = Callable[[float], object]
CancelledFor = Callable[[], str]


def nobody() -> str:
    """For whom a statement was cancelled, where nobody looks after it."""
    return ""


@contextmanager
def without_timeouts(connection: Connection, lock_timeout: str | None = None) -> Iterator[None]:
    """Let the statements of a session run as long as they need; their waits for locks stay short.

    `lock_timeout` is the session's own unless given. Afterwards the session is as it was.
    """
    limits = {
        "statement_timeout": "0",
        "transaction_timeout": "0",  # PostgreSQL 17 and newer
        "client_connection_check_interval": CLIENT_CHECK,
    }
    if lock_timeout is not None:
        limits["lock_timeout"] = lock_timeout
    before = connection.execute(
        "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)", [list(limits)]
    ).fetchall()
    for name, _ in before:
        # Not every system can tell the server that a client is gone.
        with suppress(*([DatabaseError] if name == "client_connection_check_interval" else [])):
            set_limit(connection, name, limits[name])
    try:
        yield
    finally:
        with suppress(IacallsError):  # a session that is lost has no settings
            for name, value in before:
                set_limit(connection, name, value)


def set_limit(connection: Connection, name: str, value: str) -> None:
    """Set one setting of a session."""
    connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])


def retry(
    action: Callable[[], Result],
    pause: Pause = time.sleep,
    cancelled_for: CancelledFor = nobody,
    waits: Iterator[float] | None = None,
) -> Result:
    """Run an action and return its result; run it again, after a while, as long as another session prevents it.

    `waits` are the seconds before each further attempt; two short ones unless given. Raises the last
    attempt's `DatabaseError`.
    """
    left = repeat(PAUSE_SECONDS, ATTEMPTS - 1) if waits is None else waits
    while True:
        try:
            return action()
        except DatabaseError as error:
            is_passing = error.sqlstate in PASSING or (error.sqlstate == CANCELLED and cancelled_for() != "")
            if not is_passing or (wait := next(left, None)) is None:
                raise
        # Jittered, so that two that wait for one another do not meet again.
        pause(random.SystemRandom().uniform(0.5, 1.5) * wait)


def find_lock_holders(
    connection: Connection, modes: Sequence[str], relations: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Return who keeps others from relations, or from any table: by a lock of such a mode, or waiting for one."""
    values = {"modes": list(modes), "relations": None if relations is None else list(relations)}
    return fetch(connection, load_query("maintain/lock-holders"), values)


def name_lock_holders(connection: Connection, *relations: int, modes: Sequence[str] = BLOCKING_MAINTENANCE) -> str:
    """Return who keeps a command from relations, for an error; '' for nobody."""
    holders = list(dict.fromkeys(map(name_holder, find_lock_holders(connection, modes, relations))))
    more = [f"{len(holders) - NAMED_HOLDERS} more"] if len(holders) > NAMED_HOLDERS else []
    return ", ".join(holders[:NAMED_HOLDERS] + more)


def name_holder(row: Mapping[str, Any]) -> str:
    """Return a session or a prepared transaction that holds a lock, for people."""
    name = name_prepared if row["is_prepared"] else name_session
    return name(row["holder"], row["application"], row["since"])


def name_prepared(name: str, owner: str, since: str | None) -> str:
    """A prepared transaction for people.

    >>> name_prepared("py", "ana", "2025-10-31 10:00:00")
    'prepared transaction py (ana) since 2025-10-31 10:00:00'
    """
    return f"prepared transaction {name} ({owner})" + (f" since {since}" if since else "")


def name_session(pid: str, application: str, since: str | None) -> str:
    """A session for people.

    >>> name_session("77", "psql", "2025-10-31 10:00:00")
    'session 77 (psql) since 2025-10-31 10:00:00'
    """
    return f"session {pid}" + (f" ({application})" if application else "") + (f" since {since}" if since else "")


def lock_problem(error: DatabaseError, holders: str, yielded_to: str = "") -> str:
    """Why a command failed, with who was in its way."""
    if error.sqlstate == CANCELLED:
        return f"made way {ATTEMPTS} times, for {yielded_to} which wants it alone" if yielded_to else "cancelled"
    if error.sqlstate != LOCK_NOT_AVAILABLE:
        return error.message
    return f"locked by {holders}" if holders else "another session held the lock, and has ended meanwhile"
