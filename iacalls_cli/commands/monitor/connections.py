"""`iacalls monitor connections`."""

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.monitor.query import write_query


def list_connections(run: Invocation, state: str | None) -> None:
    """List the sessions on this database."""
    write_query(run, "connections", {"state": state})
