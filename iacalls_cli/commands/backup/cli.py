"""`iacalls backup`: its commands, their options and help."""

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
from iacalls_cli.config.definition import MOST_JOBS, BackupSettings
from iacalls_cli.errors import IacallsError, UsageError
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
    from iacalls_cli.config.file import load_config

    try:
        return [backup.id for backup in open_store(load_config().backup.directory).backups()]
    except IacallsError:  # nothing may be written into a half-typed command line
        return []


Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        parser=options.read_directory,
        help="The folder of backups; one in your data folder unless set.",
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
Jobs = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, max=MOST_JOBS, help="Tables and indexes at a time.")
]
KeepDaily = Annotated[int, typer.Option("--keep-daily", metavar="N", min=0, help="Days to keep one of.")]
KeepWeekly = Annotated[int, typer.Option("--keep-weekly", metavar="N", min=0, help="Weeks to keep one of.")]
KeepMonthly = Annotated[int, typer.Option("--keep-monthly", metavar="N", min=0, help="Months to keep one of.")]
MinKeep = Annotated[int, typer.Option("--min-keep", metavar="N", min=1, help="The newest so many are kept anyway.")]


@command(
    app,
    "create",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls backup create",
        "iacalls backup create --format directory --jobs 4 --label before-migration",
        "iacalls backup create --prune -q",
    ),
)
def create(
    run: Invocation,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Only the structure.")] = False,
    data_only: Annotated[bool, typer.Option("--data-only", help="Only the rows.")] = False,
    format: Annotated[  # noqa: A002, the option's documented name
        str, typer.Option("--format", metavar="FORMAT", help="custom, directory or plain.")
    ] = BackupSettings.format,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", metavar="N", min=1, max=MOST_JOBS, help="Tables at a time (directory), cores that compress."
        ),
    ] = None,
    compress: Annotated[
        str, typer.Option("--compress", metavar="METHOD", help="zstd:1 to zstd:19, gzip:N, or none.")
    ] = BackupSettings.compress,
    directory: Directory = None,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="A word that becomes part of the name.")] = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="Afterwards remove old backups, as `backup prune` does.")
    ] = False,
) -> None:
    """Back the database up: dumped, read back whole, with a manifest, under its name only when it is good.

    The role's rights, the room on the disk and the client programs are looked at first. Rows are
    counted in the very snapshot that is dumped. One job per database at a time.
    """
    from iacalls_cli.commands.backup.create import create_one

    if schema_only and data_only:
        raise UsageError("--schema-only and --data-only contradict each other", "give one, or none for both")
    contents = "schema" if schema_only else "data" if data_only else "full"
    create_one(run, contents, format, jobs, compress, directory, label, prune=prune)


@command(app, "list", OUTPUT_OPTIONS, examples=("iacalls backup list", "iacalls backup list iacalls_db -o json"))
def list_backups(run: Invocation, database: Database = "", directory: Directory = None) -> None:
    """List the backups, the newest first, with what is known of each: created, verified, proven, damaged or foreign.

    Verified: read whole, every checksum right. Proven: restored into a scratch database and found to be
    the same there. Only manifests are read; `backup verify` reads the archives.
    """
    from iacalls_cli.commands.backup.list import list_all

    list_all(run, database, directory)


@command(app, "verify", OUTPUT_OPTIONS, examples=("iacalls backup verify", "iacalls backup verify --all -q"))
def verify(
    run: Invocation,
    backup: BackupId = "newest",
    all: Annotated[bool, typer.Option("--all", help="All backups in the folder.")] = False,  # noqa: A002, the option's name
    directory: Directory = None,
) -> None:
    """Read backups whole and compare every file with its checksum; exit 4 where one is damaged.

    What is found is recorded: `backup list` shows it, `backup prune` counts only backups that are good.
    """
    from iacalls_cli.commands.backup.verify import verify_backups

    verify_backups(run, backup, directory, is_all=all)


@command(
    app,
    "rehearse",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=("iacalls backup rehearse", "iacalls backup rehearse --dsn service=scratch -q"),
)
def rehearse(
    run: Invocation,
    backup: BackupId = "newest",
    jobs: Jobs = None,
    search_path: SearchPath = "",
    directory: Directory = None,
) -> None:
    """Test a backup by restoring it into a scratch database; exit 4 if it did not come back as it was.

    Rows per table, the schema, the updated_at triggers and every report are tried, then the scratch
    database is dropped. It is on the embedded server, where a role of its own without any privilege
    runs what the backup holds, or on the server that --dsn or --profile names.
    """
    from iacalls_cli.commands.backup.rehearse import rehearse_backup

    rehearse_backup(run, directory, backup, jobs, search_path)


@command(
    app,
    "restore",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=(
        "iacalls backup restore newest --into iacalls_check",
        "iacalls backup restore newest --replace",
        "iacalls backup restore old/backup_20251029.sql.gz --into iacalls_old",
        "iacalls backup restore newest --table clients --table groups",
    ),
)
def restore(
    run: Invocation,
    backup: Annotated[
        str,
        typer.Argument(
            metavar="ID_OR_FILE",
            help="A backup's id, a database's name for its newest, newest, or a path to what pg_dump wrote.",
            autocompletion=complete_backups,
        ),
    ],
    into: Annotated[
        str | None, typer.Option("--into", metavar="NAME", help="Make a new database of this name.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the target's database, which is kept.")
    ] = False,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", metavar="TABLE", help="Only this table, into a schema of its own in the target; repeatable."
        ),
    ] = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="With --into: the structure without rows.")
    ] = False,
    data_only: Annotated[
        bool, typer.Option("--data-only", help="Only rows, into the target's existing tables, which must be empty.")
    ] = False,
    jobs: Jobs = None,
    search_path: SearchPath = "",
    plain: Annotated[
        bool, typer.Option("--plain", help="The file is a plain dump, though pg_dump's comments were stripped.")
    ] = False,
    directory: Directory = None,
) -> None:
    """Bring a backup back, or a file that pg_dump wrote (plain, custom, directory, tar; .gz and .zst too).

    Never over an existing database: --into makes a new one; --replace restores beside the live one, shows
    what will be lost, asks for the name, swaps the two in one transaction and keeps the old one for
    `iacalls backup undo`. The rows are counted and compared with the backup's manifest.
    """
    from iacalls_cli.commands.backup.restore import RestoreOptions, restore_backup

    options = RestoreOptions(into, replace, tuple(table or ()), schema_only, data_only, jobs, search_path, plain)
    restore_backup(run, backup, directory, options)


@command(
    app,
    "undo",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=("iacalls backup undo --dry-run", "iacalls backup undo"),
)
def undo(run: Invocation) -> None:
    """Take the last `restore --replace` back: the database that was replaced takes its place again.

    What it had become meanwhile is kept under a dated name too, and what of that is newer is shown first.
    """
    from iacalls_cli.commands.backup.undo import undo_replace

    undo_replace(run)


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
    run: Invocation,
    keep_daily: KeepDaily = BackupSettings.keep_daily,
    keep_weekly: KeepWeekly = BackupSettings.keep_weekly,
    keep_monthly: KeepMonthly = BackupSettings.keep_monthly,
    min_keep: MinKeep = BackupSettings.min_keep,
    directory: Directory = None,
) -> None:
    """Remove old backups but one of each of the last days, weeks and months.

    Only verified ones count and only those are removed, each database and kind by itself. The newest
    (--min-keep) stay in any case, and so does the last proven one. Files that are not backups are left alone.
    """
    from iacalls_cli.commands.backup.prune import prune_store
    from iacalls_cli.commands.backup.store import open_store
    from iacalls_cli.operations.backup.prune import Retention

    prune_store(run, open_store(directory), Retention(keep_daily, keep_weekly, keep_monthly, min_keep))


@command(
    app,
    "check",
    OUTPUT_OPTIONS,
    examples=("iacalls backup check", "iacalls backup check --max-age 26h --max-shrink 30% --max-proven-age 35d"),
)
def check(
    run: Invocation,
    database: Database = "",
    max_age: Annotated[
        str, typer.Option("--max-age", metavar="TIME", help="Maximum age of the newest.")
    ] = BackupSettings.max_age,
    min_size: Annotated[
        str | None, typer.Option("--min-size", metavar="SIZE", help="Of the newest, like 10MB.")
    ] = None,
    max_shrink: Annotated[
        str, typer.Option("--max-shrink", metavar="SHARE", help="Maximum loss of size against the one before.")
    ] = BackupSettings.max_shrink,
    max_proven_age: Annotated[
        str | None, typer.Option("--max-proven-age", metavar="TIME", help="Since the last rehearsal, like 35d.")
    ] = None,
    directory: Directory = None,
) -> None:
    """Say whether the newest backup is young, large and proven enough; exit 4 with a line for each finding.

    Made for monitoring: it needs no database and no lock, and reads manifests only.
    """
    from iacalls_cli.commands.backup.check import check_store

    check_store(run, database, directory, max_age, min_size, max_shrink, max_proven_age)
