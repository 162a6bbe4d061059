"""`iacalls monitor`: what the database is doing, in sessions that cannot harm it."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import OUTPUT_OPTIONS, TARGET_OPTIONS, Invocation, command, note_if_empty
from iacalls_cli.group import Group
from iacalls_cli.options import complete_tables
from iacalls_cli.queries import load_query
from iacalls_cli.text import count_of, pretty_size

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

NAMED = 5

app = typer.Typer(
    name="monitor", cls=Group, help="Look at sizes, indexes and sessions.", no_args_is_help=True, add_completion=False
)


class SessionState(StrEnum):
    """The states of pg_stat_activity that one would look for."""

    ACTIVE = "active"
    IDLE = "idle"
    IDLE_IN_TRANSACTION = "idle in transaction"


@command(
    app,
    "sizes",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls monitor sizes",
        "iacalls monitor sizes -o csv",
    ),
)
def sizes(run: Invocation) -> None:
    """List the tables and materialized views of schema public by size, with their parts, rows and share.

    A partitioned table's size is the sum of its partitions, which are listed on their own as well.
    """
    from iacalls_cli.database.rows import fetch

    def note_others(connection: "Connection") -> None:
        others = fetch(connection, load_query("monitor/other-schemas"))[0]
        if others["tables"]:
            counted = count_of(others["tables"], "table")
            diagnostics.note(
                f"only schema public is shown; other schemas have {counted} ({pretty_size(others['size'])})"
            )

    show(run, "sizes", {}, note_others)


@command(app, "indexes", OUTPUT_OPTIONS, TARGET_OPTIONS, examples=("iacalls monitor indexes --table call_records",))
def indexes(
    run: Invocation,
    table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="TABLE", help="Only the indexes of this table.", autocompletion=complete_tables
        ),
    ] = None,
) -> None:
    """List the indexes of schema public: size, how often they were used, whether they are valid, definition.

    No query uses an index that is not valid, and every write keeps it up to date.
    """
    from iacalls_cli.database.rows import fetch

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

    show(run, "indexes", {"table": table}, note_invalid)


@command(
    app,
    "connections",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=("iacalls monitor connections --state active",),
)
def connections(
    run: Invocation,
    state: Annotated[
        SessionState | None,
        typer.Option("--state", metavar="STATE", help="Only: active, idle or 'idle in transaction'."),
    ] = None,
) -> None:
    """List the sessions on this database: who, what, since when, waiting for what."""
    show(run, "connections", {"state": state and state.value})


def show(
    run: Invocation, name: str, values: dict[str, Any], remark: "Callable[[Connection], None]" = lambda connection: None
) -> None:
    """Run a monitoring query under monitoring's limits and write its rows; `remark` may note more before."""
    from iacalls_cli.database.connection import MONITORING
    from iacalls_cli.database.rows import stream

    with run.session(limits=MONITORING) as session:
        remark(session.connection)
        run.write(note_if_empty(stream(session.connection, load_query(f"monitor/{name}"), values), values))
