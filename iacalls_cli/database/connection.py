"""Opening a session on the target, with the settings every session of iacalls has."""

import ipaddress
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.generators import connect as connect_pgconn
from psycopg.waiting import wait_conn

from iacalls_cli.config.definition import SECRET_KEYS, SessionSettings
from iacalls_cli.config.target import Target
from iacalls_cli.database.certificates import find_certificate_problem
from iacalls_cli.database.failures import NOT_READY, connection_failed, database_errors
from iacalls_cli.database.parameters import (
    Place,
    describe,
    environment,
    foreign_variables,
    is_encrypted_only,
    libpq_parameters,
    resolve,
)
from iacalls_cli.database.poolers import (
    is_behind_pooler,
    other_database_refused,
    pooler_refused,
    require_own_session,
    reset_session,
)
from iacalls_cli.database.settings import EXACT_MONEY, EXACT_TEXT, PLAIN_SQL, known_settings
from iacalls_cli.errors import ConnectionFailed, DatabaseError, PasswordNeeded

# What psycopg would say of a rollback that an interrupt made needless is nothing for an operator.
logging.getLogger("psycopg").addHandler(logging.NullHandler())
CONNECT_SECONDS = 10
EMBEDDED_SECONDS = 60
KEEPALIVE_SECONDS = 60
WAIT_SECONDS = 0.1
SAFE_PATH = "pg_catalog, pg_temp"


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose errors are ours: here psycopg's become `DatabaseError` or `ConnectionFailed`."""

    def wait(self, *arguments: Any, **options: Any) -> Any:
        """Do what psycopg does for every answer of the server."""
        with database_errors():
            return super().wait(*arguments, **options)

    def execute(self, *arguments: Any, **options: Any) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run a statement; a connection that is closed is found here, before any waiting."""
        with database_errors():
            return super().execute(*arguments, **options)


@dataclass(frozen=True)
class Limits:
    """How long a session's statements may run and wait for locks, as PostgreSQL writes times."""

    statement_timeout: str = SessionSettings.statement_timeout
    lock_timeout: str = SessionSettings.lock_timeout

    def __str__(self) -> str:
        return f"statement_timeout {self.statement_timeout}, lock_timeout {self.lock_timeout}"


REPORTING = Limits()
# Looking must never harm: what pgmetrics allows itself.
MONITORING = Limits("5s", "50ms")


@dataclass(frozen=True)
class Session:
    """An open connection and where it leads; `is_pooled` through a pooler in session mode.

    `left_out` are options of the target's URL that only other drivers know.
    """

    connection: Connection
    place: Place
    limits: Limits
    warnings: tuple[str, ...] = ()
    is_pooled: bool = False
    left_out: tuple[str, ...] = ()

    def close(self) -> None:
        """Close the connection; a pooler's next client finds nothing of it."""
        if self.is_pooled:
            reset_session(self.connection)
        self.connection.close()


def open_session(
    target: Target,
    command: str,
    *,
    database: str | None = None,
    read_only: bool = True,
    limits: Limits = REPORTING,
    password: str | None = None,
    fixed_money: bool = False,
    encrypted: bool = False,
) -> Session:
    """Connect to a target, or to another `database` on the same server.

    `command` goes into application_name as `iacalls/<command>`; `password` is one that the
    user typed; `fixed_money` as in `apply_settings`; `encrypted` asks for TLS where it is only preferred.

    A connection pooler is refused before anything is set in its session, unless the target says that
    it is in session mode and no other `database` is asked for. Raises `PasswordNeeded`, another
    `ConnectionFailed` (the reason in one line) or `UsageError` (an unusable DSN).
    """
    if target.is_embedded:
        from iacalls_cli.embedded.server import embedded_server

        embedded_server().start()
    parameters = libpq_parameters(target)
    if database is not None:
        parameters["dbname"] = database
    resolved = resolve(parameters)
    if encrypted and not is_encrypted_only(resolved):
        parameters["sslmode"] = "require"
    place = describe(target, resolved)
    arguments = {
        **parameters,
        "password": parameters.get("password") if password is None else password,
        "client_encoding": "UTF8",
        "connect_timeout": resolved.get("connect_timeout") or CONNECT_SECONDS,
        # Firewalls forget connections that are quiet for minutes.
        "keepalives_idle": resolved.get("keepalives_idle") or KEEPALIVE_SECONDS,
    }

    def connect_once() -> Connection:
        with environment(dict.fromkeys(foreign_variables(target, parameters))):
            try:
                return connect(arguments, target)
            except psycopg.Error as error:
                raise refusal(error, place, arguments) from None

    connection = connect_once()
    with ExitStack() as on_failure:
        on_failure.callback(connection.close)
        is_pooled = not target.is_embedded and is_behind_pooler(connection)
        if is_pooled and not target.pooler:
            raise pooler_refused(str(place))
        if is_pooled and database is not None:
            raise other_database_refused(str(place))
        if is_pooled:
            require_own_session(connection, connect_once, str(place))
        info = connection.info
        place = Place(info.host or place.host, str(info.port), info.dbname, info.user, place.source, place.is_embedded)
        warnings = tuple(safety_warnings(connection, target, parameters))
        session = Session(connection, place, limits, warnings, is_pooled, target.left_out)
        # Before this nothing is set that a pooler's next client could find.
        on_failure.callback(session.close)
        apply_settings(connection, read_only, limits, application=f"iacalls/{command}", fixed_money=fixed_money)
        on_failure.pop_all()
    return session


def safety_warnings(connection: Connection, target: Target, parameters: Mapping[str, Any]) -> Iterator[str]:
    """What is not safe about the way to this server."""
    if target.source == "--dsn" and not target.is_embedded and parameters.get("password"):
        yield "other users of this machine can see the password in --dsn (ps); keep it in ~/.pgpass or a profile"
    info = connection.info
    if is_local(info.host, info.hostaddr):
        return
    sslmode = info.get_parameters().get("sslmode", "prefer")
    if not connection.pgconn.ssl_in_use:
        yield "the connection is not encrypted; give sslmode=verify-full"
    elif not sslmode.startswith("verify"):
        yield f"sslmode={sslmode} encrypts without checking the server's certificate; sslmode=verify-full checks it"


def is_local(host: str, address: str) -> bool:
    """Whether an address never leaves this machine: a Unix-domain socket or loopback."""
    if not host or host.startswith(("/", "@")):
        return True
    return is_loopback(address)


def is_loopback(address: str) -> bool:
    """Whether an IP address is a loopback one."""
    try:
        return ipaddress.ip_address(address.split("%", maxsplit=1)[0]).is_loopback
    except ValueError:
        return False


def connect(arguments: Mapping[str, Any], target: Target) -> Connection:
    """psycopg's connect, in autocommit: every transaction of iacalls is an explicit block.

    A server of ours that is just starting, or recovering from a crash, is waited for.
    """
    until = time.monotonic() + (EMBEDDED_SECONDS if target.is_embedded else 0)
    hosts = str(arguments.get("host") or os.environ.get("PGHOST", "")).split(",")
    has_abstract = any(host.startswith("@") for host in hosts)
    while True:
        try:
            return connect_abstract(arguments) if has_abstract else Connection.connect(autocommit=True, **arguments)
        except psycopg.OperationalError as error:
            if not any(words in str(error) for words in NOT_READY) or time.monotonic() > until:
                raise
            time.sleep(0.1)


def connect_abstract(arguments: Mapping[str, Any]) -> Connection:
    """Connect to a Unix-domain socket in the abstract namespace; psycopg would look its name up as a host's."""
    attempt = connect_pgconn(make_conninfo("", **arguments))
    pgconn = wait_conn(attempt, interval=WAIT_SECONDS, timeout=int(arguments["connect_timeout"]))
    connection = Connection(pgconn)
    connection.autocommit = True
    return connection


def apply_settings(
    connection: Connection, read_only: bool, limits: Limits, *, application: str = "", fixed_money: bool = False
) -> None:
    """The settings of every session: UTC, a safe search_path, limits, read-only unless it writes.

    Schema public is not in the search_path: whoever may create there could put an operator
    that fits a comparison of ours better than PostgreSQL's own, and have it run with the
    operator's rights (CVE-2018-1058). pg_temp is named last because PostgreSQL otherwise
    looks there first. `fixed_money` is for sessions that keep rows as text and read them back;
    reports show money as the database does.
    """
    settings = {
        "TimeZone": "UTC",
        **EXACT_TEXT,
        **(EXACT_MONEY if fixed_money else {}),
        **PLAIN_SQL,
        # Compiling costs more than it saves on every report measured here.
        "jit": "off",
        "search_path": SAFE_PATH,
        "statement_timeout": limits.statement_timeout,
        "lock_timeout": limits.lock_timeout,
        "idle_in_transaction_session_timeout": "5min",
        # A session may wait for a restore beside it, or for somebody who is asked.
        "idle_session_timeout": "0",
        # It would end the session, not the statement.
        "transaction_timeout": "0",
        "default_transaction_read_only": "on" if read_only else "off",
        **({"application_name": application} if application else {}),
    }
    known = known_settings(settings, connection.info.server_version)
    calls = ", ".join(["pg_catalog.set_config(%s, %s, false)"] * len(known))
    connection.execute(f"SELECT {calls}", [part for pair in known.items() for part in pair])


def require_primary(session: Session) -> None:
    """Raise `DatabaseError` on a server in recovery: a replica takes no writes."""
    row = session.connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        raise DatabaseError(
            f"{session.place} is a replica (in recovery) and takes no writes", "name the primary server"
        )


def refusal(error: psycopg.Error, place: Place, parameters: Mapping[str, Any]) -> ConnectionFailed:
    """Why the target let us not in, with every secret of the parameters blotted out."""
    if error.pgconn and error.pgconn.needs_password:
        return PasswordNeeded(str(place))
    failed = connection_failed(
        error,
        f"{place} ({place.source})",
        place.database,
        lambda: find_certificate_problem(resolve({name: value for name, value in parameters.items() if value})),
    )
    message = failed.message
    for key in SECRET_KEYS:
        if secret := str(parameters.get(key) or ""):
            message = message.replace(secret, "***")
    return type(failed)(message, failed.hint)
