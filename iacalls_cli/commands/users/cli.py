"""`iacalls users`: the application's users and their passwords."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import (
    OUTPUT_OPTIONS,
    QUIET_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    ask_twice,
    command,
    read_secret,
)
from iacalls_cli.errors import UsageError
from iacalls_cli.group import Group
from iacalls_cli.queries import load_query
from iacalls_cli.text import count_of

app = typer.Typer(
    name="users", cls=Group, help="List users and set passwords.", no_args_is_help=True, add_completion=False
)


class Role(StrEnum):
    """The roles of the documented schema."""

    ADMIN = "admin"
    USER = "user"
    AGENT = "agent"


@command(
    app,
    "list",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls users list",
        "iacalls users list --role admin",
    ),
)
def list_users(
    run: Invocation,
    role: Annotated[Role | None, typer.Option("--role", metavar="ROLE", help="Only admin, user or agent.")] = None,
    inactive: Annotated[bool, typer.Option("--inactive", help="Deactivated users too.")] = False,
) -> None:
    """List active users with role, state and expiry. Password hashes are never shown."""
    from iacalls_cli.database.rows import stream

    with run.session() as session:
        values = {"role": role and role.value, "inactive": inactive}
        if not inactive:
            [[hidden]] = stream(session.connection, load_query("users/count-inactive"), values).rows
            if hidden != "0":
                diagnostics.note(f"{count_of(int(str(hidden)), 'inactive user')} not shown; --inactive shows them too")
        run.write(stream(session.connection, load_query("users/list"), values))


@command(
    app,
    "set-password",
    QUIET_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls users set-password admin",
        "pass show iacalls | iacalls users set-password admin --password-stdin",
    ),
)
def set_password(
    run: Invocation,
    username: Annotated[str, typer.Argument(metavar="USERNAME", help="Whose password.")],
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the new password from stdin.")] = False,
) -> None:
    """Give a user a new password (bcrypt, cost 12, as the application reads it).

    It is asked for twice without echo. Exactly one user is changed, or none.
    """
    from iacalls_cli.database.connection import require_primary
    from iacalls_cli.operations.users import compose_password, require_user, set_password

    if password_stdin:
        password = compose_password(read_secret())
    elif not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for the new password", "give --password-stdin")
    with run.session(read_only=False) as session:
        require_primary(session)
        require_user(session.connection, username)
        if not password_stdin:
            password = compose_password(ask_twice(f"New password for {username}: "))
        diagnostics.note(f"plan: store a new password for {username} in {session.place}; the old one is then lost")
        if not run.dry_run and not session.place.is_embedded:
            run.confirm_action("Go on?")
        set_password(session.connection, username, password, dry_run=run.dry_run)
    diagnostics.note(f"the password of {username} {'would be' if run.dry_run else 'is'} changed in {session.place}")
