"""`iacalls monitor`: what the database is doing, in sessions that cannot harm it."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from iacalls_cli.commands.run import OUTPUT_OPTIONS, TARGET_OPTIONS, Run, command, tell_if_empty
from iacalls_cli.group import Group
from iacalls_cli.options import complete_tables
from iacalls_cli.queries import load_query

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
def sizes(run: Run) -> None:
    """List the tables by size, with their parts, estimated rows and share of all."""
    show(run, "sizes", {})


@command(app, "indexes", OUTPUT_OPTIONS, TARGET_OPTIONS, examples=("iacalls monitor indexes --table call_records",))
def indexes(
    run: Run,
    table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="TABLE", help="Only the indexes of this table.", autocompletion=complete_tables
        ),
    ] = None,
) -> None:
    """List the indexes with their size, how often they were used, and their definition."""
    show(run, "indexes", {"table": table})


@command(
    app,
    "connections",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=("iacalls monitor connections --state active",),
)
def connections(
    run: Run,
    state: Annotated[
        SessionState | None,
        typer.Option("--state", metavar="STATE", help="Only: active, idle or 'idle in transaction'."),
    ] = None,
) -> None:
    """List the sessions on this database: who, what, since when, waiting for what."""
    show(run, "connections", {"state": state and state.value})


def show(run: Run, name: str, values: dict[str, Any]) -> None:
    """Run a monitoring query under monitoring's limits and write its rows."""
    from iacalls_cli.database.connection import MONITORING
    from iacalls_cli.database.rows import stream

    with run.session(limits=MONITORING) as session:
        run.write(tell_if_empty(stream(session.connection, load_query(f"monitor/{name}"), values), values))
