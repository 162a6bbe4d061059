"""`iacalls server`: the embedded PostgreSQL server."""

import typer

from iacalls_cli.commands.invocation import (
    CONFIRM_OPTIONS,
    OUTPUT_OPTIONS,
    QUIET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    command,
)
from iacalls_cli.group import Group

app = typer.Typer(
    name="server",
    cls=Group,
    help="Start, stop and destroy the embedded PostgreSQL server.",
    no_args_is_help=True,
    add_completion=False,
)


@command(app, "start", QUIET_OPTIONS, examples=("iacalls server start",))
def start(run: Invocation) -> None:
    """Start the embedded server; the first time it is made. Commands that need it do this themselves."""
    from iacalls_cli.commands.server.start import start_server

    start_server()


@command(app, "stop", QUIET_OPTIONS, examples=("iacalls server stop",))
def stop(run: Invocation) -> None:
    """Stop the embedded server, ending its sessions. Its data stay."""
    from iacalls_cli.commands.server.stop import stop_server

    stop_server()


@command(
    app,
    "status",
    OUTPUT_OPTIONS,
    examples=(
        "iacalls server status",
        "psql \"$(iacalls server status -o json | jq -r '.data[0].dsn')\"",
    ),
)
def status(run: Invocation) -> None:
    """Say whether the embedded server runs, and where everything is; exit 3 when it does not run."""
    from iacalls_cli.commands.server.status import show_status

    show_status(run)


@command(
    app,
    "destroy",
    QUIET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=(
        "iacalls server destroy --dry-run",
        "iacalls server destroy --confirm iacalls_db",
    ),
)
def destroy(run: Invocation) -> None:
    """Stop the embedded server and remove all its data. This cannot be undone."""
    from iacalls_cli.commands.server.destroy import destroy_server

    destroy_server(run)
