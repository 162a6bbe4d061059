"""Connection poolers: finding out that one is in the way, and leaving nothing behind in its sessions.

A pooler hands the server's sessions from one client to the next. In transaction and statement mode
it does so while we are connected: our settings (read-only, search_path, time-outs) and advisory
locks would reach the application's queries. In session mode the server's session is ours until we
disconnect, and then somebody else's.
"""

import select
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from psycopg import pq

from iacalls_cli.errors import ConnectionFailed, IacallsError

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

# One of it is all that may be sent before it is known who else uses the server's session.
BACKEND_PID = "SELECT pg_catalog.pg_backend_pid()"
RESET = "DISCARD ALL"
PROBES = 3
# A second client of a session pooler may have to wait for a free session.
PROBE_SECONDS = 1
NAME_THE_SERVER = "use the address of the PostgreSQL server itself"
HINT = (
    "use the address of the PostgreSQL server itself (its port is another one); "
    'only if the pooler works in session mode, write pooler = "session" into a profile'
)


def is_behind_pooler(connection: "Connection") -> bool:
    """Return whether a pooler is between us and the server; sets nothing, leaves nothing.

    libpq is told the number of the server process at the start. A pooler tells a number of its
    own, as cancel requests have to come to it.
    """
    return backend_pid(connection) != connection.pgconn.backend_pid


def require_own_session(
    connection: "Connection",
    connect: "Callable[[], Connection]",
    place: str,
) -> None:
    """Raise `ConnectionFailed` if a pooler that is said to be in session mode is not; nothing is set before.

    Then the session's process changes, or a second client (from `connect`) meets the same one.
    """
    with closing(connect()) as second:
        for _ in range(PROBES):
            own = backend_pid(connection)
            if own in (waiting_backend_pid(second), None) or backend_pid(connection) != own:
                raise ConnectionFailed(
                    f'{place} is behind a pooler that is not in session mode, but the profile says pooler = "session"',
                    f"{NAME_THE_SERVER}, or an address of the pooler in session mode",
                )
            if second.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                return


def pooler_refused(place: str) -> ConnectionFailed:
    """Return the error for a pooler that the target does not mention."""
    return ConnectionFailed(
        f"{place} is behind a connection pooler, which would hand our settings and locks to the application", HINT
    )


def other_database_refused(place: str) -> ConnectionFailed:
    """Return the error for a command that makes, renames or drops databases through a pooler."""
    return ConnectionFailed(
        f"{place} is behind a connection pooler, whose open sessions prevent renaming and dropping databases",
        NAME_THE_SERVER,
    )


def backend_pid(connection: "Connection") -> int | None:
    """Return the number of the server process that answers now; a simple query, in no transaction."""
    row = connection.execute(BACKEND_PID).fetchone()
    return int(row[0]) if row else None


def waiting_backend_pid(connection: "Connection") -> int:
    """Return the same, or 0 if no session becomes free within `PROBE_SECONDS`."""
    pgconn = connection.pgconn
    pgconn.send_query(BACKEND_PID.encode())
    pgconn.flush()
    if not select.select([pgconn.socket], [], [], PROBE_SECONDS)[0]:
        return 0
    found = 0
    while (result := pgconn.get_result()) is not None:
        if result.status == pq.ExecStatus.TUPLES_OK:
            found = int(result.get_value(0, 0) or 0)
    return found


def reset_session(connection: "Connection") -> None:
    """Undo everything that would outlive us in a pooled session: settings, locks, temporary tables.

    A session that cannot be reset is ended. One with a statement still at work is ended by the
    pooler when we disconnect.
    """
    if connection.closed or connection.info.transaction_status == pq.TransactionStatus.ACTIVE:
        return
    try:
        connection.rollback()
        connection.execute(RESET)
    except IacallsError:
        with suppress(IacallsError):
            connection.rollback()
            connection.execute("SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())")
