"""`iacalls server stop`."""

from iacalls_cli import diagnostics
from iacalls_cli.embedded.server import embedded_server


def stop_server() -> None:
    """Stop the embedded server."""
    stopped = embedded_server().stop()
    diagnostics.note("the embedded server is stopped" if stopped else "the embedded server was not running")
