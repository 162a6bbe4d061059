"""Databases that are being made under a name of their own, until they are whole."""

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import NAME_BYTES
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import ConnectionFailed, DatabaseError, IacallsError
from iacalls_cli.queries import load_query

TOKEN_BYTES = 8
MARK_BYTES = 8
LOST = "the session was lost"


@dataclass(frozen=True)
class TemporaryKind:
    """What is being made: the command that does it, and how its unfinished names end before their token."""

    command: str
    ending: str

    def prefix(self, name: str) -> str:
        """How the unfinished databases of a name begin."""
        return shortened(name, len(self.ending) + TOKEN_BYTES) + self.ending

    def new_name(self, name: str) -> str:
        """A name of its own for one that is to become `name`."""
        return self.prefix(name) + secrets.token_hex(TOKEN_BYTES // 2)

    def at_work(self, name: str) -> DatabaseError:
        """The error of the second of two at once."""
        return DatabaseError(
            f"another `iacalls {self.command}` is at work on {name}, nothing was changed",
            "wait for it, then `iacalls db verify`",
        )


INIT = TemporaryKind("db init", ".init-")
RESTORE = TemporaryKind("backup restore", ".restore-")
REHEARSAL = TemporaryKind("backup rehearse", ".rehearsal-")


def shortened(name: str, room: int) -> str:
    """A database's name, where need be cut and marked so that `room` bytes more fit behind it."""
    encoded = name.encode()
    if len(encoded) + room <= NAME_BYTES:
        return name
    # Two long names that begin alike must not become one.
    mark = "~" + hashlib.sha256(encoded).hexdigest()[:MARK_BYTES]
    return encoded[: NAME_BYTES - room - len(mark)].decode(errors="ignore") + mark


def lock_creation(maintenance: Connection, name: str, making: TemporaryKind = INIT, *, wait: bool = False) -> list[str]:
    """Be the only session that makes databases of this name, until this one ends; drop what killed ones left.

    Returns the names of those that could not be dropped. Raises `DatabaseError` where another
    session is at it, unless that is to be waited for.
    """
    prefix = making.prefix(name)
    if not fetch(maintenance, load_query("db/create-lock"), {"prefix": prefix, "wait": wait})[0]["locked"]:
        raise making.at_work(name)
    leftovers = [row["name"] for row in fetch(maintenance, load_query("db/unfinished-databases"), {"prefix": prefix})]
    return [leftover for leftover in leftovers if drop_database(maintenance, leftover, force=True)]


def drop_database(maintenance: Connection, name: str, *, force: bool = False) -> str:
    """Drop an unfinished database of ours; `force` ends the sessions in it.

    Returns why it could not be dropped, in the server's words; '' where it is gone.
    """
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    if force:
        # Its owner may have made it a template, which cannot be dropped.
        with suppress(IacallsError):
            maintenance.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(sql.Identifier(name)))
        # Refused where an autovacuum worker is in it; without the option the server ends that one itself.
        with suppress(IacallsError):
            maintenance.execute(statement + sql.SQL(" WITH (FORCE)"))
    try:
        maintenance.execute(statement)
    except DatabaseError as error:
        return error.message
    except ConnectionFailed:
        return LOST
    return ""


def rename_database(maintenance: Connection, old: str, new: str) -> None:
    """Give a database another name; raises `DatabaseError`."""
    maintenance.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new)))
