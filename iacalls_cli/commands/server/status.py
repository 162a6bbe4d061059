"""`iacalls server status`."""

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.embedded.server import ServerStatus, embedded_server
from iacalls_cli.errors import ConnectionFailed
from iacalls_cli.table import table_of


def show_status(run: Invocation) -> None:
    """Show the state of the embedded server; raise `ConnectionFailed` unless it runs."""
    found = embedded_server().status()
    run.write(table_of(ServerStatus, [found]))
    if found.state != "running":
        raise ConnectionFailed(f"the embedded server is {found.state}", "`iacalls server start` starts it")
