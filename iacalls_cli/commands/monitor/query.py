"""A monitoring query under the limits of monitoring."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from iacalls_cli.commands.invocation import Invocation, note_if_empty
from iacalls_cli.database.connection import MONITORING
from iacalls_cli.database.rows import stream
from iacalls_cli.queries import load_query

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection


def write_query(
    run: Invocation, name: str, values: dict[str, Any], remark: "Callable[[Connection], None]" = lambda connection: None
) -> None:
    """Run a monitoring query under monitoring's limits and write its rows; `remark` may note more before."""
    with run.session(limits=MONITORING) as session:
        remark(session.connection)
        run.write(note_if_empty(stream(session.connection, load_query(f"monitor/{name}"), values), values))
