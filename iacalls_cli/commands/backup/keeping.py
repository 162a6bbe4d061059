"""`iacalls backup create`, `list` and `verify`."""

from functools import partial
from typing import Annotated

import typer

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.group import (
    BackupId,
    Database,
    Directory,
    app,
)
from iacalls_cli.commands.run import OUTPUT_OPTIONS, TARGET_OPTIONS, WRITE_OPTIONS, Run, command
from iacalls_cli.errors import ProblemsFound, UsageError
from iacalls_cli.table import Column, Table


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
    run: Run,
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Only the structure.")] = False,
    data_only: Annotated[bool, typer.Option("--data-only", help="Only the rows.")] = False,
    format: Annotated[  # noqa: A002, the option's documented name
        str | None, typer.Option("--format", metavar="FORMAT", help="custom (the default), directory or plain.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", metavar="N", min=1, max=64, help="Tables at a time (directory), cores to compress on."),
    ] = None,
    compress: Annotated[
        str | None,
        typer.Option("--compress", metavar="METHOD", help="zstd:1 (the default) to zstd:19, gzip:N, or none."),
    ] = None,
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
    from iacalls_cli.commands.backup.create_steps import create_one

    if schema_only and data_only:
        raise UsageError("--schema-only and --data-only contradict each other", "give one, or none for both")
    contents = "schema" if schema_only else "data" if data_only else "full"
    create_one(run, contents, format, jobs, compress, directory, label, prune=prune)


@command(app, "list", OUTPUT_OPTIONS, examples=("iacalls backup list", "iacalls backup list iacalls_db -o json"))
def list_backups(run: Run, database: Database = "", directory: Directory = None) -> None:
    """List the backups, the newest first, with what is known of each: created, verified, proven or damaged.

    Verified: read whole, every checksum right. Proven: restored into a scratch database and found to be
    the same there. Only manifests are read; `backup verify` reads the archives.
    """
    from iacalls_cli.commands.backup.store import backups_answer, open_store

    store = open_store(directory)
    backups = store.of_database(database)
    if not backups:
        of = f" of {database}" if database else ""
        diagnostics.note(f"there is no backup{of} in {store.directory}; `iacalls backup create` makes one")
    run.write(backups_answer(backups, run.output))


@command(app, "verify", OUTPUT_OPTIONS, examples=("iacalls backup verify", "iacalls backup verify --all -q"))
def verify(
    run: Run,
    backup: BackupId = "newest",
    all: Annotated[bool, typer.Option("--all", help="All backups in the folder.")] = False,  # noqa: A002, the option's name
    directory: Directory = None,
) -> None:
    """Read backups whole and compare every file with its checksum; exit 4 where one is damaged.

    What is found is recorded: `backup list` shows it, `backup prune` counts only backups that are good.
    """
    from iacalls_cli.commands.backup.store import open_store, source_of
    from iacalls_cli.operations.backup.store import LATEST
    from iacalls_cli.operations.backup.verify import verify_backup

    if all and backup not in LATEST:
        raise UsageError("--all and a backup's id contradict each other", "give one of them")
    store = open_store(directory)
    chosen = store.backups() if all else [store.find(backup, partial(source_of, run))]
    rows = []
    for one in chosen:
        with diagnostics.waiting(f"reading {one.id}"):
            checked, findings = verify_backup(one)
        rows += [(one.id, checked.state, finding) for finding in findings or [""]]
    run.write(Table((Column("id", "prose"), Column("state"), Column("finding", "prose")), rows))
    bad = {row[0] for row in rows if row[2]}
    if bad:
        raise ProblemsFound(
            f"{len(bad)} of {len(chosen)} backups are not as they were made: {', '.join(sorted(bad))}",
            "do not rely on them; make a new one with `iacalls backup create`",
        )
