"""`iacalls maintain`: its commands, their options and help."""

from pathlib import Path
from typing import Annotated

import typer

from iacalls_cli import options
from iacalls_cli.commands.invocation import (
    CONFIRM_OPTIONS,
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    command,
)
from iacalls_cli.config.definition import BUILT_IN, MOST_DAYS, MaintainSettings
from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.group import Group

app = typer.Typer(
    name="maintain",
    cls=Group,
    help="Clean, vacuum, analyze and reindex while the application goes on.",
    no_args_is_help=True,
    add_completion=False,
)


def complete_rules() -> list[str]:
    """The rules of a cleanup, for completion."""
    from iacalls_cli.config.file import load_config

    try:
        return [*BUILT_IN, *load_config().maintain.rules]
    except IacallsError:  # nothing may be written into a half-typed command line
        return list(BUILT_IN)


def complete_runs() -> list[str]:
    """The cleanups with an archive in the default folder, for completion."""
    from iacalls_cli.commands.maintain.archive_directory import open_archives
    from iacalls_cli.config.file import load_config

    try:
        return [archive.id for archive in open_archives(load_config().maintain.archives).all()]
    except IacallsError:  # see above
        return []


def complete_tables() -> list[str]:
    """The tables of the documented schema, for completion; a view has nothing to maintain."""
    from iacalls_cli.operations.db.catalog import expected_catalog

    return sorted(key.relation for key in expected_catalog() if key.kind == "table")


def complete_indexes() -> list[str]:
    """The tables of the documented schema, then its indexes, for completion."""
    from iacalls_cli.operations.db.catalog import expected_catalog

    kinds = ("index", "primary key", "unique")
    return [*complete_tables(), *sorted(key.name for key in expected_catalog() if key.kind in kinds)]


Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        parser=options.read_directory,
        help="The folder of archives; one in your data folder unless set.",
    ),
]


@command(
    app,
    "cleanup",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=(
        "iacalls maintain cleanup --dry-run",
        "iacalls maintain cleanup --days 30",
        "iacalls maintain cleanup --only whatsapp --max-duration 30m -q",
    ),
)
def cleanup(
    run: Invocation,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=MOST_DAYS, help="WhatsApp conversations older than this.")
    ] = MaintainSettings.days,
    failed_call_days: Annotated[
        int, typer.Option("--failed-call-days", metavar="N", min=1, max=MOST_DAYS, help="Failed calls older than this.")
    ] = MaintainSettings.failed_call_days,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="RULE",
            help="Only whatsapp, failed-calls, or a rule of the config file; may be given again.",
            autocompletion=complete_rules,
        ),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive/--no-archive", help="Keep what is deleted in an archive, for undo.")
    ] = True,
    max_duration: Annotated[
        str,
        typer.Option("--max-duration", metavar="TIME", help="Stop after this long, like 30m; the next run goes on."),
    ] = MaintainSettings.max_duration,
    pause: Annotated[
        str | None,
        typer.Option("--pause", metavar="TIME", help="Between two transactions; as long as the last one unless given."),
    ] = None,
    keep_archives: Annotated[
        str | None,
        typer.Option("--keep-archives", metavar="TIME", help="Remove older archives, like 180d; none unless given."),
    ] = None,
    tz: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="The time zone of stored times that have none.")
    ] = "UTC",
    directory: Directory = None,
) -> None:
    """Delete what is old, in short transactions, while the application goes on; `maintain undo` puts it back.

    Two rules are built in: WhatsApp conversations older than 30 days, and failed calls older than 60
    days, which --days alone never changes. The config file may have more. Running batches and their
    calls always stay. The plan is shown first, with everything that goes or changes along with it.
    """
    from iacalls_cli.commands.maintain.cleanup import CleanupOptions, clean_up

    options = CleanupOptions(
        days, failed_call_days, tuple(only or ()), archive, max_duration, pause, keep_archives, tz, directory
    )
    clean_up(run, options)


@command(
    app,
    "undo",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=("iacalls maintain undo", "iacalls maintain undo newest --dry-run"),
)
def undo(
    run: Invocation,
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN_ID",
            help="A cleanup's id or its beginning, or newest; without one they are listed.",
            autocompletion=complete_runs,
        ),
    ] = None,
    directory: Directory = None,
) -> None:
    """Put back what a cleanup deleted: with its ids, as it was, over nothing that is there now.

    The archive is read whole and checked first. Rows that cannot come back, because their place is
    taken or what they refer to is gone, are listed; then the exit code is 1.
    """
    from iacalls_cli.commands.maintain.undo import list_runs, undo_run

    if run_id is None:
        list_runs(run, directory)
    else:
        undo_run(run, run_id, directory)


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
    run: Invocation,
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
    from iacalls_cli.commands.maintain.vacuum import vacuum_tables

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
    run: Invocation,
    tables: Tables = None,
    all: Annotated[bool, typer.Option("--all", help="All tables, not only where it is time.")] = False,  # noqa: A002, the option's name
) -> None:
    """Renew the planner's statistics (ANALYZE) where many rows changed since the last time.

    Without TABLE, the tables of which more than a tenth of the rows changed, or that have no
    statistics. Reads and writes go on meanwhile.
    """
    from iacalls_cli.commands.maintain.analyze import analyze_tables

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
    run: Invocation,
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
    from iacalls_cli.commands.maintain.reindex import reindex as reindex_all

    if all and names:
        raise UsageError("--all and names contradict each other", "give one of them")
    reindex_all(run, names or [], wait, is_all=all)
