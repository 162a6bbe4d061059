"""The only place where psycopg's errors become iacalls's errors."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.transaction import OutOfOrderTransactionNesting

from iacalls_cli.database import sqlstates
from iacalls_cli.database.tls_hints import tls_hint
from iacalls_cli.errors import ConnectionFailed, DatabaseError, DatabaseUnavailable, IacallsError

# What to do about a SQLSTATE. Sources: PostgreSQL's appendix of error codes, and what the
# commands of iacalls themselves run into.
HINTS = {
    sqlstates.UNDEFINED_TABLE: "is the schema complete? `iacalls db verify` compares it",
    errors.UndefinedColumn.sqlstate: "`iacalls db describe TABLE` lists a table's columns",
    errors.UndefinedFunction.sqlstate: "is the schema complete? `iacalls db verify` compares it",
    sqlstates.INSUFFICIENT_PRIVILEGE: "grant the role that right, or use the database owner's role",
    sqlstates.READ_ONLY: "sessions that only report are read-only; to write, use psql on the primary server",
    sqlstates.LOCK_NOT_AVAILABLE: (
        "another session holds the lock; `iacalls monitor connections` shows who, try again later"
    ),
    sqlstates.CANCELLED: (
        "somebody cancelled it, or it ran into statement_timeout ([session] in the config file raises that)"
    ),
    errors.DiskFull.sqlstate: "free space on the server's disk, then try again",
    errors.TooManyConnections.sqlstate: "too many sessions are open; try again, or end idle ones",
    sqlstates.SERIALIZATION_FAILURE: "another session changed the same rows; try again",
    sqlstates.DEADLOCK: "another session wanted the same locks; try again",
    sqlstates.SYNTAX_ERROR: "correct the SQL",
    errors.CharacterNotInRepertoire.sqlstate: (
        "the database holds text that is not UTF-8 (its encoding is SQL_ASCII); read it with encode()"
    ),
}
# Where a function of the database fails: of an index, a trigger, a check, a view.
CALLED = re.compile(r'(?:SQL|PL/\w+) function "?([^"()\s]+)')
# No room for one more session: of the server, a database, a role, or a pooler.
NO_SLOT = re.compile(r"too many (clients|connections)|connection slots|no more connections", re.IGNORECASE)
NO_SLOT_HINT = (
    "too many sessions are open; end idle ones, try again, or raise max_connections or the CONNECTION LIMIT "
    "of the role or database (a backup takes two sessions, `maintain vacuum` two or more)"
)
PG_HBA_HINT = "the server's pg_hba.conf admits neither this user nor this address; or it wants TLS (sslmode=require)"
TO_SERVER = re.compile(r'connection to server (?:at|on socket) .*?(?:port \d+|") failed: (.*)')
UNTRUSTED = "certificate verify failed"
NOT_READY = ("the database system is", "server closed the connection unexpectedly")
# PostgreSQL's own databases, which `db init` does not make.
OWN_DATABASES = ("postgres", "template0", "template1")
NAME_BYTES = 63  # PostgreSQL cuts longer ones
LINE = re.compile(r"^\s*\w+ (\d+):", re.MULTILINE)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn every psycopg error inside the block into an `IacallsError`; its cause is psycopg's error."""
    try:
        yield
    except IacallsError:
        raise
    except psycopg.Error as error:
        if isinstance(error, OutOfOrderTransactionNesting) and isinstance(error.__context__, KeyboardInterrupt):
            # Between two levels of a transaction psycopg complains of these instead of the interrupt.
            raise error.__context__ from None
        raise translate(error) from error


class StatementCancelled(DatabaseError, psycopg.errors.QueryCanceled):
    """The statement was cancelled; psycopg's own class too, because psycopg passes over it when it ends a COPY."""

    sqlstate: str = ""


def translate(error: psycopg.Error) -> IacallsError:
    """The `IacallsError` that tells of a psycopg error that came after connecting."""
    state = error.sqlstate or ""
    if is_connection_loss(error):
        reason = error.diag.message_primary or first_line(str(error)) or "the server closed it"
        return ConnectionFailed(
            f"the connection was lost: {reason}", "what was not committed is undone; check the server, try again"
        )
    message = error.diag.message_primary or first_line(str(error)) or type(error).__name__
    if error.diag.statement_position and (line := LINE.search(str(error))):
        message += f" (line {line[1]} of the SQL)"
    hint = HINTS.get(state, error.diag.message_hint or "")
    if state in sqlstates.UNDEFINED and (called := CALLED.search(error.diag.context or "")):
        hint = f"the function {called[1]} finds its names by search_path; ALTER FUNCTION … SET search_path gives it one"
    # Never the DETAIL: of a row that breaks a constraint it shows every value, hashes included.
    kind = StatementCancelled if isinstance(error, psycopg.errors.QueryCanceled) else DatabaseError
    return kind(message, hint, state)


def is_connection_loss(error: psycopg.Error) -> bool:
    """Whether the session is gone: closed by an administrator, a time limit, a crash, or the network."""
    # libpq's own failures carry no SQLSTATE.
    return error.sqlstate in sqlstates.SESSION_LOST or (
        isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    )


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def connection_failed(
    error: psycopg.Error, where: str, database: str, find_certificate_problem: Callable[[], str] = str
) -> ConnectionFailed:
    """The error that tells why no connection came about; `where` names the target.

    `find_certificate_problem` finds out why a certificate failed, of which libpq does not say more.
    """
    text = str(error)
    used_password = bool(error.pgconn and error.pgconn.used_password)
    line = first_line(text)
    # What follows may speak of something that failed, too.
    reason = found[1] if (found := TO_SERVER.search(line)) else line.rsplit(" failed: ", 1)[-1]
    reason = reason.removeprefix("connection is bad: ").removeprefix("connection failed: ")
    reason = re.sub(r"^([A-ZÁÉÍÓÚ]+:\s+|\[Errno -?\d+\] )", "", reason)
    if reason.endswith(UNTRUSTED) and (problem := find_certificate_problem()):
        reason = f"{reason}: {problem}"
    message = f"cannot connect to {where}: {reason}"
    if f'database "{database}"' in reason and is_servers_answer(text):
        return DatabaseUnavailable(message, database_hint(reason, database))
    if "definition of service" in reason:
        hint = "services stand in ~/.pg_service.conf, or in the file that PGSERVICEFILE names"
    elif NO_SLOT.search(reason):
        hint = NO_SLOT_HINT
    elif "pg_hba.conf" in reason:
        hint = PG_HBA_HINT
    elif "unsupported startup parameter" in reason:
        hint = "a connection pooler refuses this setting (PGOPTIONS, options); name the PostgreSQL server itself"
    elif "invalid response" in reason:
        hint = "that does not answer as a PostgreSQL server does; check host and port"
    elif hint := tls_hint(reason):
        pass
    elif "SSL" in reason:
        hint = "the server offers no TLS; check the address, iacalls never falls back to an unencrypted connection"
    elif "resolve host" in reason or "translate host" in reason or "not known" in reason:
        hint = "check the host name"
    elif "refused" in reason or "No such file" in reason or "timeout" in reason or "expired" in reason:
        hint = "is the server running there, and the address right? `--dsn` names another"
    elif "not permitted to log in" in reason:
        hint = "ALTER ROLE … LOGIN permits it, or use another role"
    elif any(words in reason for words in NOT_READY):
        hint = "the server is starting, stopping or recovering; try again"
    elif used_password:
        hint = "check user and password"
    else:
        hint = "check the server and the address"
    return ConnectionFailed(message, hint)


def database_hint(reason: str, database: str) -> str:
    """What to do if the server refuses one database."""
    if "pg_hba" in reason:
        return PG_HBA_HINT
    if NO_SLOT.search(reason):
        return NO_SLOT_HINT
    if "permission denied" in reason:
        return f'GRANT CONNECT ON DATABASE "{database}" to the role, or use another one'
    if "does not exist" not in reason:
        return "check the database's settings (ALTER DATABASE … ALLOW_CONNECTIONS)"
    if database in OWN_DATABASES or len(database.encode()) > NAME_BYTES:
        return "name a database that exists"
    return f"if it is to be made: iacalls db init creates {database}"


def is_servers_answer(text: str) -> bool:
    """Whether the server itself answered: libpq quotes its words after FATAL, in any language."""
    return bool(re.search(r"failed: [A-ZÁÉÍÓÚ]+: ", text))
