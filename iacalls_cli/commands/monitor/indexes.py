"""`iacalls monitor indexes`."""

from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.monitor.query import write_query
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query
from iacalls_cli.text import count_of

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

NAMED = 5


def list_indexes(run: Invocation, table: str | None) -> None:
    """List indexes; note those that are not valid."""

    def note_invalid(connection: "Connection") -> None:
        invalid = [
            row for row in fetch(connection, load_query("monitor/indexes"), {"table": table}) if not row["is_valid"]
        ]
        if invalid:
            names = ", ".join(row["indexname"] for row in invalid[:NAMED])
            more = f" and {len(invalid) - NAMED} more" if len(invalid) > NAMED else ""
            what = count_of(len(invalid), "index is", "indexes are")
            diagnostics.note(
                f"{what} not valid, no query uses them: {names}{more}; `iacalls maintain reindex` mends that"
            )

    write_query(run, "indexes", {"table": table}, note_invalid)
