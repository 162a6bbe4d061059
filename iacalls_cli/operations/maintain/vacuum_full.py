"""What VACUUM FULL costs: room on the disk for another copy, and time in which nobody can use the table."""

import shutil
from collections.abc import Sequence

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.tables import TableState
from iacalls_cli.queries import load_query
from iacalls_cli.text import pretty_size

# A guess: about half of what it did with call_records and its indexes on two cores and a disk
# that was in no hurry (docs/maintenance.md).
BYTES_A_SECOND = 50_000_000


def needed_bytes(tables: Sequence[TableState]) -> int:
    """The room that rewriting tables one after the other takes at most: for a whole copy of the largest one."""
    return max((table.size or 0 for table in tables), default=0)


def estimated_seconds(size: int) -> float:
    """How long rewriting so many bytes may take. It is a guess, and said to be one."""
    return size / BYTES_A_SECOND


def free_bytes(connection: Connection, tablespace: int) -> int | None:
    """The free room on the disk of a tablespace; None where it cannot be known.

    It can where the server is on this machine, reached through its socket, and lets this role
    know its folder. Over TCP even this machine's own address may lead into a container.
    """
    if not connection.info.host.startswith("/"):
        return None
    folder = fetch(connection, load_query("maintain/room"), {"tablespace": tablespace})[0]["folder"]
    try:
        return shutil.disk_usage(folder).free if folder else None
    except OSError:
        return None


def require_disk_space(connection: Connection, tables: Sequence[TableState]) -> bool:
    """Raise `IacallsError` where a disk is known to have no room for a table's copy.

    Returns whether the room of every table is known.
    """
    is_known = True
    for tablespace in sorted({table.tablespace for table in tables}):
        needed = needed_bytes([table for table in tables if table.tablespace == tablespace])
        free = free_bytes(connection, tablespace)
        is_known = is_known and free is not None
        if free is not None and free < needed:
            raise IacallsError(
                f"VACUUM FULL may need {pretty_size(needed)}, and the server's disk has {pretty_size(free)} free",
                "name smaller tables, or make room first",
            )
    return is_known
