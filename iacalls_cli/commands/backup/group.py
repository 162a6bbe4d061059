"""The group `iacalls backup`, and the options its commands share."""

from pathlib import Path
from typing import Annotated

import typer

from iacalls_cli import options
from iacalls_cli.group import Group

app = typer.Typer(
    name="backup",
    cls=Group,
    help="Make, prove, keep and bring back backups.",
    no_args_is_help=True,
    add_completion=False,
)


def complete_backups() -> list[str]:
    """The backups in the default folder, for completion."""
    from iacalls_cli.commands.backup.store import open_store
    from iacalls_cli.errors import IacallsError

    try:
        return [backup.id for backup in open_store(None).backups()]
    except IacallsError:  # nothing may be written into a half-typed command line
        return []


Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        parser=options.read_directory,
        help="The folder of backups, instead of the configured one.",
    ),
]
BackupId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="A backup's id or its beginning, or a database's name for its newest; the newest unless given.",
        autocompletion=complete_backups,
    ),
]
SearchPath = Annotated[
    str,
    typer.Option(
        "--search-path",
        metavar="SCHEMAS",
        help="search_path for rows, indexes and constraints, like public,extensions.",
    ),
]
Database = Annotated[str, typer.Argument(metavar="[DATABASE]", help="Only backups of this database.")]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", min=1, max=64, help="Tables and indexes at a time.")]
KeepDaily = Annotated[int | None, typer.Option("--keep-daily", metavar="N", min=0, help="Days to keep one of.")]
KeepWeekly = Annotated[int | None, typer.Option("--keep-weekly", metavar="N", min=0, help="Weeks to keep one of.")]
KeepMonthly = Annotated[int | None, typer.Option("--keep-monthly", metavar="N", min=0, help="Months to keep one of.")]
MinKeep = Annotated[
    int | None, typer.Option("--min-keep", metavar="N", min=1, help="The newest so many are kept anyway.")
]
