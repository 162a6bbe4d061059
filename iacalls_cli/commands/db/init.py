"""`iacalls db init`: find or make the database, choose the password, apply the schema."""

import secrets
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation, ask_twice, read_secret
from iacalls_cli.commands.maintenance_database import open_maintenance
from iacalls_cli.database.connection import is_loopback, require_primary
from iacalls_cli.database.failures import NAME_BYTES, OWN_DATABASES
from iacalls_cli.database.parameters import libpq_parameters, resolve
from iacalls_cli.embedded.server import DATABASE, embedded_server
from iacalls_cli.errors import ConnectionFailed, DatabaseUnavailable, UsageError
from iacalls_cli.operations.db.init import (
    apply_schema,
    create_database,
    database_exists,
    require_empty,
    require_privileges,
)
from iacalls_cli.operations.users import ADMINISTRATOR, DEFAULT_PASSWORD, compose_password
from iacalls_cli.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Connection, Session

GENERATED = "generated"
NO_PLACE = OWN_DATABASES


@dataclass(frozen=True)
class AdminPassword:
    """Where the administrator's password comes from, as the options say."""

    from_stdin: bool
    generate: bool
    allow_default: bool

    def resolve(self, *, is_near: bool, dry_run: bool) -> tuple[str, str]:
        """The password, and where it comes from: generated, given, or documented default.

        `is_near` says that the server is the embedded one or at a loopback address: there the
        documented default will do. With `dry_run` no password is made up. Raises `UsageError`
        where nothing else was given.
        """
        if self.from_stdin and self.generate:
            raise UsageError("--admin-password-stdin and --generate-admin-password contradict each other", "give one")
        if self.generate:
            return "" if dry_run else secrets.token_urlsafe(15), GENERATED
        if self.from_stdin:
            password = read_secret()
        elif self.allow_default or is_near:
            return DEFAULT_PASSWORD, "documented default"
        elif sys.stdin.isatty():
            password = ask_twice(f"Password for the new administrator {ADMINISTRATOR}: ")
        else:
            raise UsageError(
                "the administrator needs a password, and the documented default is refused on this server",
                "give --generate-admin-password, --admin-password-stdin, or --allow-default-password",
            )
        return compose_password(password), "given"


def initialise(run: Invocation, admin: AdminPassword) -> Table:
    """Run `db init` and return its answer: what was made, with the password if it was generated."""
    target = run.target()
    if run.dry_run and target.is_embedded and not embedded_server().exists():
        password, source = admin.resolve(is_near=True, dry_run=True)
        diagnostics.note(f"plan: make the embedded server, and {plan_for(DATABASE, source, is_missing=True)}")
        return answer(DATABASE, "planned", password, source)
    database = resolve(libpq_parameters(target)).get("dbname", "")
    if not database:
        raise UsageError("the target names no database", "add dbname=iacalls_db, or set PGDATABASE")
    if database in NO_PLACE:
        raise UsageError(
            f"the target names the database {database}, which is PostgreSQL's own", "name another, like iacalls_db"
        )
    if len(database.encode()) > NAME_BYTES:
        raise UsageError(f"the database's name is longer than {NAME_BYTES} bytes", "choose a shorter one")
    with ExitStack() as stack:
        session, is_missing = open_target(run, stack, target, database)
        require_primary(session)
        if not is_missing:
            require_empty(session.connection)
            require_privileges(session.connection)
        is_near = session.place.is_embedded or is_loopback(session.connection.info.hostaddr)
        password, source = admin.resolve(is_near=is_near, dry_run=run.dry_run)
        diagnostics.note(f"plan: {plan_for(database, source, is_missing=is_missing)}")
        if not run.dry_run and not session.place.is_embedded:
            run.confirm_action("Go on?")
        if not is_missing:
            apply_schema(session.connection, password, dry_run=run.dry_run)
        elif not run.dry_run:
            create_database(session.connection, database, password, partial(open_database, run, target))
    if password == DEFAULT_PASSWORD and not run.dry_run:
        diagnostics.warning(
            f"the administrator {ADMINISTRATOR} has the documented default password; "
            f"change it: {run.repeat(f'users set-password {ADMINISTRATOR}')}"
        )
    return answer(database, "planned" if run.dry_run else "created", password, source)


def plan_for(database: str, source: str, *, is_missing: bool) -> str:
    """What `db init` is about to do."""
    made = f"create the database {database}, and" if is_missing else "create"
    return (
        f"{made} in it the documented tables, indexes, triggers and views, "
        f"and the administrator {ADMINISTRATOR} (password: {source})"
    )


def open_target(run: Invocation, stack: ExitStack, target: "Target", database: str) -> "tuple[Session, bool]":
    """A session on the target database or, when only that is missing, on the maintenance database.

    The second value says that it is missing. Raises `ConnectionFailed` when the server itself
    cannot be reached.
    """
    try:
        return stack.enter_context(run.session(target=target, read_only=False)), False
    except ConnectionFailed as failed:
        try:
            session = stack.enter_context(open_maintenance(run, target, avoid=(database,)))
        except ConnectionFailed as elsewhere:
            if not isinstance(failed, DatabaseUnavailable):
                raise failed from None
            raise ConnectionFailed(failed.message, f"{elsewhere.message}; {elsewhere.hint}") from None
        if database_exists(session.connection, database):
            raise
        run.announce(replace(session, place=replace(session.place, database=database)))
        return session, True


@contextmanager
def open_database(run: Invocation, target: "Target", name: str) -> "Iterator[Connection]":
    """A writing session in another database of the target's server."""
    with run.session(target=target, database=name, read_only=False, is_named=False) as session:
        yield session.connection


def answer(database: str, state: str, password: str, source: str) -> Table:
    """One row that says what was made; a generated password is shown this once."""
    row = {"database": database, "state": state, "administrator": ADMINISTRATOR, "password_from": source}
    if source == GENERATED and password:
        row["password"] = password
    return Table(tuple(Column(name) for name in row), [tuple(row.values())])
