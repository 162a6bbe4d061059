"""One database in another's place, by two renames in one transaction; the old one is kept, and can come back.

New sessions wait while the transaction holds the database's lock, and those that are open are ended
from a second session. Nothing about the database is changed before, so that a kill at any moment
leaves the old one or the new one, whole.
"""

import re
import threading
import time
from datetime import UTC, datetime
from typing import Any, cast

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import OBJECT_IN_USE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.db.temporary import rename_database, shortened
from iacalls_cli.queries import load_query

BEFORE, UNDONE = ".before-", ".undone-"
STAMP = "%Y%m%dT%H%M%SZ"
STAMP_BYTES = 16
LIMIT_SECONDS = 30
TRY_SECONDS = 0.1


def read_clock(maintenance: Connection) -> datetime:
    """Return the server's time: of two names that are kept, the later one must be the latest, whoever made it."""
    return cast("datetime", fetch(maintenance, load_query("backup/now"))[0]["now"])


def dated_name(maintenance: Connection, database: str, ending: str) -> str:
    """The name under which a replaced database is kept, by the server's clock.

    One that exists is of this very second, which is waited for.
    """
    prefix = shortened(database, len(ending) + STAMP_BYTES) + ending
    while True:
        name = prefix + read_clock(maintenance).astimezone(UTC).strftime(STAMP)
        if not fetch(maintenance, load_query("db/database-exists"), {"name": name})[0]["present"]:
            return name
        time.sleep(TRY_SECONDS)


def kept_databases(maintenance: Connection, database: str) -> list[str]:
    """The databases that were replaced by one of this name, the latest first."""
    prefix = shortened(database, len(BEFORE) + STAMP_BYTES) + BEFORE
    names = [row["name"] for row in fetch(maintenance, load_query("backup/databases"), {"prefix": prefix})]
    kept = (name for name in names if re.fullmatch(r"\d{8}T\d{6}Z", name.removeprefix(prefix)))
    return sorted(kept, reverse=True)


def require_swappable(maintenance: Connection, database: str) -> None:
    """Raise `DatabaseError` naming the right, where the role may not rename a database."""
    row = fetch(maintenance, load_query("backup/swap-rights"), {"name": database})
    if not row:
        raise DatabaseError(
            f"there is no database {database}", "`iacalls backup restore ID --into NAME` makes a new one"
        )
    rights = row[0]
    if not rights["is_owner"]:
        raise DatabaseError(
            f"the role {rights['role']} may not replace {database}, which belongs to {rights['owner']}",
            "connect as its owner, or as a superuser",
        )
    if not rights["may_create"]:
        raise DatabaseError(
            f"the role {rights['role']} lacks the right CREATEDB",
            f"have a superuser run: ALTER ROLE {rights['role']} CREATEDB",
        )
    if rights["prepared"]:
        raise DatabaseError(
            f"{database} has {rights['prepared']} prepared transactions", "commit them or roll them back first"
        )


def copy_settings(maintenance: Connection, old: str, new: str) -> list[str]:
    """Give a new database the owner, settings, rights and comment of an old one; returns what was refused."""
    refused = []
    for row in fetch(maintenance, load_query("backup/database-settings"), {"name": old, "new": new}):
        try:
            maintenance.execute(row["statement"])
        except DatabaseError as error:
            refused.append(f"not taken over: {row['statement']} ({error.message})")
    return refused


def swap(maintenance: Connection, ender: Connection, database: str, new: str, kept: str) -> None:
    """Rename `database` to `kept` and `new` to `database`, at once; sessions in it are ended.

    `ender` is a second session on the maintenance database. Raises `IacallsError` naming the sessions
    that could not be ended within the limit; nothing has changed then.
    """
    done = threading.Event()
    helper = threading.Thread(target=end_sessions, args=(ender, (database, new), done), daemon=True)
    deadline = time.monotonic() + LIMIT_SECONDS
    helper.start()
    try:
        while True:
            try:
                with maintenance.transaction():
                    # The first rename takes the lock that lets nobody in, and waits some seconds for those inside.
                    rename_database(maintenance, database, kept)
                    rename_database(maintenance, new, database)
                return
            except DatabaseError as error:
                if error.sqlstate != OBJECT_IN_USE:
                    raise
                if time.monotonic() > deadline:
                    raise still_open(ender, database) from None
    finally:
        done.set()
        helper.join()


def end_sessions(ender: Connection, databases: tuple[str, ...], done: threading.Event) -> None:
    """End the sessions in databases over and over, until the swap is done."""
    while not done.is_set():
        try:
            for database in databases:
                fetch(ender, load_query("backup/end-sessions"), {"name": database})
        except IacallsError:  # one that we may not end: told when the time is up
            pass
        done.wait(TRY_SECONDS)


def still_open(connection: Connection, database: str) -> IacallsError:
    """The error that names who is still in a database."""
    sessions: list[dict[str, Any]] = fetch(connection, load_query("backup/sessions"), {"name": database})
    named = ", ".join(f"{row['pid']} of {row['role'] or 'the server'} ({row['application']})" for row in sessions[:5])
    return IacallsError(
        f"sessions in {database} could not be ended within {LIMIT_SECONDS} s: {named or 'none now'}; "
        "nothing was changed",
        "stop the application, or connect as a superuser, then try again",
    )
