"""What an unfinished REINDEX CONCURRENTLY leaves: indexes no query uses, which every write keeps up to date."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import UNDEFINED_OBJECT
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.indexes import IndexState, read_indexes
from iacalls_cli.operations.maintain.locks import (
    BLOCKING_ALL,
    Pause,
    lock_problem,
    name_lock_holders,
    retry,
    without_timeouts,
)
from iacalls_cli.queries import load_query

# Of the 63 bytes of a name, what a suffix like _ccnew12 always leaves of it.
STEM_BYTES = 50
# How often and how long apart we look whether a session that was ended is gone.
END_LOOKS = 15
END_SECONDS = 0.2


@dataclass(frozen=True)
class Suspect:
    """An index that is called as a leftover is, and is left alone; `reason` says why."""

    index: IndexState
    reason: str


def find_suspects(indexes: Sequence[IndexState], role: str) -> list[Suspect]:
    """What looks like a leftover and cannot be removed."""
    suspects = []
    for index in indexes:
        if not index.is_called_leftover:
            continue
        if index.is_being_built:
            suspects.append(Suspect(index, "another session is building it"))
        elif not index.has_twin:
            suspects.append(Suspect(index, "it is not valid, and not the copy of another index: look at it yourself"))
        elif not index.is_allowed:
            suspects.append(Suspect(index, f"it is a leftover, and the role {role} may not remove it"))
    return suspects


def drop_leftover(connection: Connection, index: IndexState, pause: Pause) -> str:
    """Remove a leftover without keeping anybody from its table; returns why not, or ''.

    Its lock is one that a REINDEX CONCURRENTLY would hold: one that began meanwhile is not
    disturbed. It waits for transactions that use the table, as briefly as for any lock.
    """
    statement = sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name))

    def drop() -> None:
        now = fetch(connection, load_query("maintain/index"), {"schema": index.schema, "name": index.name})
        # Another index may have that name by now.
        if now and now[0]["oid"] == index.oid and not now[0]["is_valid"]:
            connection.execute(statement)

    try:
        with without_timeouts(connection):
            retry(drop, pause)
    except DatabaseError as error:
        if error.sqlstate == UNDEFINED_OBJECT:
            return ""
        return lock_problem(error, name_lock_holders(connection, index.table_oid, modes=BLOCKING_ALL))
    return ""


def drop_copies(connection: Connection, index: IndexState, before: frozenset[int], pause: Pause) -> list[str]:
    """Remove what our own REINDEX of an index left when it failed; returns what stays, with the reasons.

    `before` are the indexes that were there when it began: what came since is ours, if it is not valid.
    """
    return [
        f"{copy} stays ({problem}); the next run removes it"
        for copy in find_copies(connection, index, before, pause)
        if (problem := drop_leftover(connection, copy, pause))
    ]


def find_copies(connection: Connection, index: IndexState, before: frozenset[int], pause: Pause) -> list[IndexState]:
    """What our own REINDEX of an index left, once the session that did it is gone or done."""
    copies: list[IndexState] = []
    for _ in range(END_LOOKS):
        copies = [copy for copy in read_indexes(connection) if is_copy(copy, index, before)]
        if not any(copy.is_being_built for copy in copies):
            break
        pause(END_SECONDS)
    return [copy for copy in copies if not copy.is_being_built]


def is_copy(copy: IndexState, index: IndexState, before: frozenset[int]) -> bool:
    """Whether an index is a new copy of another one, or that one itself, swapped against its copy."""
    is_new = copy.oid not in before or copy.oid == index.oid
    is_named = copy.table_oid == index.table_oid and copy.name.startswith(stem(index.name))
    return copy.is_called_leftover and is_named and is_new


def stem(name: str) -> str:
    """What the name of an index's copy begins with: the server cuts it where the suffix has no room."""
    return name.encode()[:STEM_BYTES].decode(errors="ignore")
