"""`iacalls server`: the embedded PostgreSQL server."""

import typer

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import (
    CONFIRM_OPTIONS,
    OUTPUT_OPTIONS,
    QUIET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    command,
)
from iacalls_cli.errors import ConnectionFailed
from iacalls_cli.group import Group
from iacalls_cli.table import table_of
from iacalls_cli.text import pretty_size

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
    from iacalls_cli.embedded.server import embedded_server

    server = embedded_server()
    with diagnostics.waiting("starting PostgreSQL"):
        started = server.start()
    diagnostics.note(f"the embedded server {'is started' if started else 'runs already'}: {server.places.socket}")


@command(app, "stop", QUIET_OPTIONS, examples=("iacalls server stop",))
def stop(run: Invocation) -> None:
    """Stop the embedded server, ending its sessions. Its data stay."""
    from iacalls_cli.embedded.server import embedded_server

    stopped = embedded_server().stop()
    diagnostics.note("the embedded server is stopped" if stopped else "the embedded server was not running")


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
    from iacalls_cli.embedded.server import ServerStatus, embedded_server

    found = embedded_server().status()
    run.write(table_of(ServerStatus, [found]))
    if found.state != "running":
        raise ConnectionFailed(f"the embedded server is {found.state}", "`iacalls server start` starts it")


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
    from iacalls_cli.embedded.server import DATABASE, embedded_server

    server = embedded_server()
    if not server.places.home.exists():
        diagnostics.note("there is no embedded server, nothing was changed")
        return
    size = pretty_size(server.status().size)
    diagnostics.note(f"plan: stop the server and remove {server.places.home} with every database in it ({size})")
    if run.dry_run:
        return
    run.confirm_by_name("Everything in it is lost.", DATABASE, is_embedded=True)
    server.destroy()
    diagnostics.note("the embedded server and its data are removed")
