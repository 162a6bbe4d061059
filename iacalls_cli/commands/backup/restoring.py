"""`iacalls backup rehearse`, `restore` and `undo`."""

from functools import partial
from typing import Annotated

import typer

from iacalls_cli.commands.backup.group import (
    BackupId,
    Directory,
    Jobs,
    SearchPath,
    app,
    complete_backups,
)
from iacalls_cli.commands.run import CONFIRM_OPTIONS, OUTPUT_OPTIONS, TARGET_OPTIONS, WRITE_OPTIONS, Run, command
from iacalls_cli.errors import UsageError


@command(
    app,
    "rehearse",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=("iacalls backup rehearse", "iacalls backup rehearse --dsn service=scratch -q"),
)
def rehearse(
    run: Run,
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
    from iacalls_cli.commands.backup.rehearse_steps import rehearse_backup

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
    run: Run,
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
    from iacalls_cli.commands.backup import replace_steps
    from iacalls_cli.commands.backup import restore_steps as steps
    from iacalls_cli.commands.backup.store import open_store, source_of
    from iacalls_cli.operations.backup.material import find_material

    if schema_only and data_only:
        raise UsageError("--schema-only and --data-only contradict each other", "give one, or none for both")
    if replace and (into is not None or schema_only or data_only or table):
        raise UsageError("--replace takes the whole backup and no other way to restore", "leave the other option out")
    if into is not None and (data_only or table):
        raise UsageError("--into makes a whole database", "without --into, --table and --data-only work on the target")
    if not (replace or into is not None or data_only or table):
        raise UsageError("where to?", "give --into NAME, --replace, --table TABLE, or --data-only")
    if search_path and (data_only or table):
        raise UsageError("--search-path goes with --into and --replace", "leave it out")
    if schema_only and into is None:
        raise UsageError("--schema-only needs a new database", "give --into NAME")
    store = open_store(directory)
    material = find_material(store, backup, partial(source_of, run), is_plain=plain)
    contents = material.manifest.contents if material.manifest else "full"
    if contents == "data" and not data_only:
        raise UsageError(f"{material.name} holds rows without their tables", "restore it with --data-only")
    if contents == "schema" and into is None:
        raise UsageError(f"{material.name} holds no rows", "restore it with --into NAME")
    if into is not None:
        wanted = "schema" if schema_only or contents == "schema" else "full"
        steps.restore_into(run, material, store, into, wanted, steps.choose_jobs(jobs), search_path)
    elif replace:
        replace_steps.replace_database(run, material, backup, store, steps.choose_jobs(jobs), search_path)
    else:
        steps.restore_tables(run, material, store, tuple(table or ()), data_only=data_only)


@command(
    app,
    "undo",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    CONFIRM_OPTIONS,
    examples=("iacalls backup undo --dry-run", "iacalls backup undo"),
)
def undo(run: Run) -> None:
    """Take the last `restore --replace` back: the database that was replaced takes its place again.

    What it had become meanwhile is kept under a dated name too, and what of that is newer is shown first.
    """
    from iacalls_cli.commands.backup.replace_steps import undo_replace

    undo_replace(run)
