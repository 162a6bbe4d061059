"""`iacalls maintain vacuum`, `analyze` and `reindex`."""

from typing import Annotated

import typer

from iacalls_cli.commands.maintain.group import app, complete_indexes, complete_tables
from iacalls_cli.commands.run import CONFIRM_OPTIONS, OUTPUT_OPTIONS, TARGET_OPTIONS, WRITE_OPTIONS, Run, command
from iacalls_cli.errors import UsageError

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...",
        help="Tables, of schema public unless named with a dot.",
        autocompletion=complete_tables,
        show_default=False,
    ),
]


@command(
    app,
    "vacuum",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=(
        "iacalls maintain vacuum",
        "iacalls maintain vacuum call_records --dry-run",
        "iacalls maintain vacuum --jobs 2 -q",
        "iacalls maintain vacuum call_records --full --confirm iacalls_db",
    ),
)
def vacuum(
    run: Run,
    tables: Tables = None,
    full: Annotated[
        bool, typer.Option("--full", help="Rewrite the tables; nobody can use one meanwhile. Asks for the name.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, max=16, help="Tables at a time.")] = 1,
) -> None:
    """Remove dead rows and renew statistics (VACUUM, ANALYZE), the most needy tables first.

    Without TABLE, all tables: those that are old, then those with most dead rows, then the rest,
    for which it is quick. Reads and writes go on meanwhile. A table that another session locks is
    tried three times, then told as failed; the others are done. It makes way for sessions that
    wait for a table and would stop others.

    With --full, tables are rewritten one after the other, so that all their free room goes back to the
    system: each is locked against reads and writes for as long as that takes. What that may
    cost is shown first.
    """
    from iacalls_cli.commands.maintain.upkeep_steps import vacuum_tables

    vacuum_tables(run, tables or [], is_full=full, jobs=jobs)


@command(
    app,
    "analyze",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls maintain analyze",
        "iacalls maintain analyze call_records clients",
        "iacalls maintain analyze --all",
    ),
)
def analyze(
    run: Run,
    tables: Tables = None,
    all: Annotated[bool, typer.Option("--all", help="All tables, not only where it is time.")] = False,  # noqa: A002, the option's name
) -> None:
    """Renew the planner's statistics (ANALYZE) where many rows changed since the last time.

    Without TABLE, the tables of which more than a tenth of the rows changed, or that have no
    statistics. Reads and writes go on meanwhile.
    """
    from iacalls_cli.commands.maintain.analyze_steps import analyze_tables

    if all and tables:
        raise UsageError("--all and TABLE contradict each other", "give one of them")
    analyze_tables(run, tables or [], is_all=all)


@command(
    app,
    "reindex",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls maintain reindex --dry-run",
        "iacalls maintain reindex",
        "iacalls maintain reindex call_records --wait 10min",
        "iacalls maintain reindex --all -q",
    ),
)
def reindex(
    run: Run,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TABLE|INDEX]...",
            help="Indexes, or tables for all of theirs.",
            autocompletion=complete_indexes,
            show_default=False,
        ),
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="All indexes, not only those that need it.")] = False,  # noqa: A002, the option's name
    wait: Annotated[
        str, typer.Option("--wait", metavar="TIME", help="For transactions that are older than the rebuild.")
    ] = "1min",
) -> None:
    """Rebuild indexes (REINDEX CONCURRENTLY) that are a third empty or not valid; reads and writes go on.

    Before, it removes what an unfinished REINDEX left (_ccnew, _ccold). How empty a B-tree is, is
    an estimate from the planner's statistics; those of less than 1 MB are fine. What is named is rebuilt
    in any case. Indexes of exclusion constraints are left alone, and named.

    Stopped at any moment, it leaves no invalid index, or says which one the next run removes.
    """
    from iacalls_cli.commands.maintain.reindex_steps import reindex as reindex_all

    if all and names:
        raise UsageError("--all and names contradict each other", "give one of them")
    reindex_all(run, names or [], wait, is_all=all)
