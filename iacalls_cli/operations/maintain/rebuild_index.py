"""REINDEX CONCURRENTLY of one index: reads and writes go on, and nothing invalid is left when it fails."""

import re
import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import (
    INSUFFICIENT_PRIVILEGE,
    LOCK_NOT_AVAILABLE,
    UNIQUE_VIOLATION,
)
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.index_functions import explain_missing_name, index_path
from iacalls_cli.operations.maintain.indexes import IndexState
from iacalls_cli.operations.maintain.locks import (
    lock_problem,
    name_lock_holders,
    retry,
    without_timeouts,
)
from iacalls_cli.operations.maintain.reindex_leftovers import drop_copies
from iacalls_cli.operations.maintain.workers import Worker
from iacalls_cli.queries import load_query

ORDINARY_TABLE = "r"
WAITED = "waited "
# How a problem begins that no later attempt solves.
DUPLICATES = "rows have the same"
# The detail of such an error in any language: the columns of the key, and its values.
DUPLICATED = re.compile(r"[^(]*(\(.*?\))=\(", re.DOTALL)


@dataclass(frozen=True)
class ReindexResult:
    """What became of one index. `state` is rebuilt, removed (a leftover), skipped or failed.

    Sizes are in bytes. `problem` says why it was not done, or what stays behind; `blocked_by` names the
    session whose transaction it waited for in vain.
    """

    index: str
    table: str
    state: str
    size_before: int | None = None
    size_after: int | None = None
    seconds: float = 0.0
    problem: str = ""
    blocked_by: str = ""


@dataclass(frozen=True)
class Attempt:
    """How an index is rebuilt: `wait` is for transactions older than ours, as PostgreSQL writes times.

    `before` are the indexes there were when it all began.
    """

    wait: str
    before: frozenset[int]


def reindex_index(worker: Worker[IndexState], index: IndexState, attempt: Attempt) -> ReindexResult:
    """REINDEX INDEX CONCURRENTLY of one index, in a session that writes and is in no transaction.

    Its lock (SHARE UPDATE EXCLUSIVE) keeps nobody from reading and writing, so that its long waits,
    for transactions that are older than it, harm nobody. What the database refuses is told
    in the result; raises `ConnectionFailed`.
    """
    began = time.monotonic()
    try:
        stays = retry(lambda: rebuild(worker, index, attempt), worker.pause, worker.cancelled_for)
    except DatabaseError as error:
        spent = time.monotonic() - began
        blocker = worker.waits_for if error.message.startswith(WAITED) else ""
        return ReindexResult(str(index), index.table, "failed", index.size, None, spent, error.message, blocker)
    now = find_index(worker.connection, index)
    spent = time.monotonic() - began
    return ReindexResult(str(index), index.table, "rebuilt", index.size, now[1] if now else None, spent, stays)


def rebuild(worker: Worker[IndexState], index: IndexState, attempt: Attempt) -> str:
    """Rebuild an index in one attempt, which leaves nothing; return why its old form stays all the same, or ''.

    Raises `DatabaseError`, which `retry` takes for a passing one only where another attempt may go better.
    """
    try:
        execute_reindex(worker, index, attempt.wait)
    except DatabaseError as error:
        if worker.stopping.is_set():  # who stopped it removes what it left
            raise DatabaseError("interrupted") from error
        stays = drop_copies(worker.connection, index, attempt.before, worker.pause)
        now = find_index(worker.connection, index)
        if now and now[0] != index.oid:  # swapped already: only the old one could not be removed
            return "; ".join(stays)
        if stays:
            raise DatabaseError("; ".join([error.message, *stays])) from error
        raise
    return ""


def execute_reindex(worker: Worker[IndexState], index: IndexState, wait: str) -> None:
    """Run REINDEX once the table is free for it; raise `DatabaseError` with the problem."""
    connection = worker.connection
    statement = sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(sql.Identifier(index.schema, index.name))
    worker.waits_for = worker.yielded_to = ""
    try:
        retry(lambda: require_lock(connection, index), worker.pause, worker.cancelled_for)
    except DatabaseError as error:
        holders = name_lock_holders(connection, index.table_oid)
        raise DatabaseError(lock_problem(error, holders, worker.cancelled_for())) from error
    try:
        with without_timeouts(connection, wait), index_path(connection):
            connection.execute(statement)
    except DatabaseError as error:
        if error.sqlstate == LOCK_NOT_AVAILABLE:
            whom = worker.waits_for or "a transaction that is older than it"
            problem = f"{WAITED}{wait} for {whom}, which uses the table or has an older snapshot"
            raise DatabaseError(problem) from error
        missing = explain_missing_name(connection, index.table_oid, error) or explain_duplicates(error)
        problem = missing or lock_problem(error, "", worker.cancelled_for())
        raise DatabaseError(problem, sqlstate=error.sqlstate) from error


def explain_duplicates(error: DatabaseError) -> str:
    """What keeps a unique index from being built; '' for another error. The server's detail holds the rows' values."""
    if error.sqlstate != UNIQUE_VIOLATION:
        return ""
    cause = error.__cause__
    detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else ""
    columns = DUPLICATED.match(detail or "")
    return f"{DUPLICATES} {columns[1] if columns else 'key'}, which the unique index forbids"


def require_lock(connection: Connection, index: IndexState) -> None:
    """Raise `DatabaseError` where somebody else holds a lock that REINDEX would wait for, after a short wait.

    REINDEX itself is given long waits, for older transactions; here somebody can be named at once.
    """
    if index.table_kind != ORDINARY_TABLE:
        return  # nothing else can be locked by name
    table = sql.Identifier(index.table_schema, index.table_name)
    try:
        with connection.transaction():
            connection.execute(sql.SQL("LOCK TABLE ONLY {} IN SHARE UPDATE EXCLUSIVE MODE").format(table))
    except DatabaseError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:  # an owner can revoke that from himself, and still reindex
            raise


def find_index(connection: Connection, index: IndexState) -> tuple[int, int | None] | None:
    """The oid and size of what has the name of an index now; None where nothing has, or nobody can tell."""
    try:
        found = fetch(connection, load_query("maintain/index"), {"schema": index.schema, "name": index.name})
    except DatabaseError:  # somebody locked it at once
        return None
    return (found[0]["oid"], found[0]["size"]) if found else None
