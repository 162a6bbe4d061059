"""`iacalls users`: the application's users and their passwords."""

from enum import StrEnum
from typing import Annotated

import typer

from iacalls_cli.commands.invocation import (
    OUTPUT_OPTIONS,
    QUIET_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    command,
)
from iacalls_cli.group import Group

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
    from iacalls_cli.commands.users.list import list_users

    list_users(run, role and role.value, inactive=inactive)


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
    from iacalls_cli.commands.users.set_password import change_password

    change_password(run, username, password_stdin=password_stdin)
