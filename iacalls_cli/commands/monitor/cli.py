"""`iacalls monitor`: what the database is doing, in sessions that cannot harm it."""

from enum import StrEnum
from typing import Annotated

import typer

from iacalls_cli.commands.invocation import OUTPUT_OPTIONS, TARGET_OPTIONS, Invocation, command
from iacalls_cli.group import Group
from iacalls_cli.options import complete_tables

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
    from iacalls_cli.commands.monitor.sizes import list_sizes

    list_sizes(run)


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
    from iacalls_cli.commands.monitor.indexes import list_indexes

    list_indexes(run, table)


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
    from iacalls_cli.commands.monitor.connections import list_connections

    list_connections(run, state and state.value)
