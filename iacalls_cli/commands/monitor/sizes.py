"""`iacalls monitor sizes`."""

from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.monitor.query import write_query
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query
from iacalls_cli.text import count_of, pretty_size

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection


def list_sizes(run: Invocation) -> None:
    """List tables by size; note what other schemas hold."""

    def note_others(connection: "Connection") -> None:
        others = fetch(connection, load_query("monitor/other-schemas"))[0]
        if others["tables"]:
            counted = count_of(others["tables"], "table")
            diagnostics.note(
                f"only schema public is shown; other schemas have {counted} ({pretty_size(others['size'])})"
            )

    write_query(run, "sizes", {}, note_others)
