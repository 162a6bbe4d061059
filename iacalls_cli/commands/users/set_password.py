"""`iacalls users set-password`."""

import sys

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import (
    Invocation,
    ask_twice,
    read_secret,
)
from iacalls_cli.database.connection import require_primary
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.users import compose_password, require_user, set_password


def change_password(run: Invocation, username: str, *, password_stdin: bool) -> None:
    """Give one user a new password."""
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
