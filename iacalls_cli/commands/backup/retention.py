"""`iacalls backup prune` and `check`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from iacalls_cli.commands.backup.group import (
    Database,
    Directory,
    KeepDaily,
    KeepMonthly,
    KeepWeekly,
    MinKeep,
    app,
)
from iacalls_cli.commands.run import OUTPUT_OPTIONS, WRITE_OPTIONS, Run, command
from iacalls_cli.errors import ProblemsFound


@command(
    app,
    "prune",
    OUTPUT_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls backup prune --dry-run",
        "iacalls backup prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12",
    ),
)
def prune(
    run: Run,
    keep_daily: KeepDaily = None,
    keep_weekly: KeepWeekly = None,
    keep_monthly: KeepMonthly = None,
    min_keep: MinKeep = None,
    directory: Directory = None,
) -> None:
    """Remove old backups but one of each of the last days, weeks and months (7, 4 and 12 unless told).

    Only verified ones count and only those are removed, each database and kind by itself. The newest
    three stay in any case, and so does the last proven one. Files that are not backups are left alone.
    """
    from iacalls_cli.commands.backup.retention_steps import prune_store, read_retention
    from iacalls_cli.commands.backup.store import open_store

    prune_store(run, open_store(directory), read_retention(keep_daily, keep_weekly, keep_monthly, min_keep))


@command(
    app,
    "check",
    OUTPUT_OPTIONS,
    examples=("iacalls backup check", "iacalls backup check --max-age 26h --max-shrink 30% --max-proven-age 35d"),
)
def check(
    run: Run,
    database: Database = "",
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="TIME", help="Of the newest; 26h unless given.")
    ] = None,
    min_size: Annotated[
        str | None, typer.Option("--min-size", metavar="SIZE", help="Of the newest, like 10MB.")
    ] = None,
    max_shrink: Annotated[
        str | None, typer.Option("--max-shrink", metavar="SHARE", help="Against the one before; 30% unless given.")
    ] = None,
    max_proven_age: Annotated[
        str | None, typer.Option("--max-proven-age", metavar="TIME", help="Since the last rehearsal, like 35d.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Say whether the newest backup is young, large and proven enough; exit 4 with a line for each finding.

    Made for monitoring: it needs no database and no lock, and reads manifests only.
    """
    from iacalls_cli.commands.backup.retention_steps import read_demands
    from iacalls_cli.commands.backup.store import open_store
    from iacalls_cli.operations.backup.freshness import CheckLine, check_backups
    from iacalls_cli.table import table_of

    demands = read_demands(max_age, min_size, max_shrink, max_proven_age)
    lines = check_backups(open_store(directory), demands, datetime.now(UTC), database)
    run.write(table_of(CheckLine, lines))
    problems = [line for line in lines if line.state == "problem"]
    if problems:
        raise ProblemsFound(
            f"{len(problems)} findings: {'; '.join(line.detail for line in problems)}", "see the lines above"
        )
