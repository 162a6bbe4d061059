"""`iacalls maintain cleanup` and `undo`."""

from typing import Annotated

import typer

from iacalls_cli.commands.maintain.group import Directory, app, complete_rules, complete_runs
from iacalls_cli.commands.run import CONFIRM_OPTIONS, OUTPUT_OPTIONS, TARGET_OPTIONS, WRITE_OPTIONS, Run, command
from iacalls_cli.config.maintain import MOST_DAYS


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
    run: Run,
    days: Annotated[
        int | None,
        typer.Option("--days", metavar="N", min=1, max=MOST_DAYS, help="WhatsApp conversations older than this; 30."),
    ] = None,
    failed_call_days: Annotated[
        int | None,
        typer.Option("--failed-call-days", metavar="N", min=1, max=MOST_DAYS, help="Failed calls older than this; 60."),
    ] = None,
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
        str | None,
        typer.Option("--max-duration", metavar="TIME", help="Stop after this long, like 30m; the next run goes on."),
    ] = None,
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
    from iacalls_cli.commands.maintain.cleanup_steps import CleanupOptions, clean_up

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
    run: Run,
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
    from iacalls_cli.commands.maintain.undo_steps import list_runs, undo_run

    if run_id is None:
        list_runs(run, directory)
    else:
        undo_run(run, run_id, directory)
