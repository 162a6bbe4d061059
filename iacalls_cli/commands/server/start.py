"""`iacalls server start`."""

from iacalls_cli import diagnostics
from iacalls_cli.embedded.server import embedded_server


def start_server() -> None:
    """Start the embedded server."""
    server = embedded_server()
    with diagnostics.waiting("starting PostgreSQL"):
        started = server.start()
    diagnostics.note(f"the embedded server {'is started' if started else 'runs already'}: {server.places.socket}")
