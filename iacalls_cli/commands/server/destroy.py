"""`iacalls server destroy`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.embedded.server import DATABASE, embedded_server
from iacalls_cli.text import pretty_size


def destroy_server(run: Invocation) -> None:
    """Remove the embedded server with its data."""
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
