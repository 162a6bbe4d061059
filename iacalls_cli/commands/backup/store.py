"""The folder of backups, and how it is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli.homes import expand_user, user_folder
from iacalls_cli.operations.backup.store import Backup, Source, Store
from iacalls_cli.table import Column, Result, Table

if TYPE_CHECKING:
    from iacalls_cli.commands.invocation import Invocation


def open_store(directory: Path | None) -> Store:
    """Return the store in a folder, or in the user's data folder."""
    return Store(expand_user(directory or user_folder("data") / "backups").absolute())


def source_of(run: "Invocation") -> "Source | None":
    """The system identifier and name of the target's database; None where that cannot be asked."""
    from iacalls_cli.config.target import choose_target
    from iacalls_cli.database.rows import fetch
    from iacalls_cli.errors import IacallsError
    from iacalls_cli.queries import load_query

    try:
        # A restore test names its scratch server with --dsn: what was backed up is the configured target.
        target = choose_target(None, None) if run.command == "backup rehearse" else run.target()
        with run.session(target=target, is_named=False) as session:
            row = fetch(session.connection, load_query("backup/system-identifier"))[0]
            return row["system_identifier"], session.place.database
    except IacallsError:
        return None


COLUMNS = (
    # Wrapped rather than cut: it is what people copy.
    Column("id", "prose"),
    Column("state"),
    Column("contents"),
    Column("format"),
    Column("compression", is_wide=True),
    Column("taken", "time", is_wide=True),
    Column("tables", "number", is_wide=True),
    Column("rows", "number"),
    Column("size", "bytes"),
    Column("proven_at", "time", is_wide=True),
    Column("folder", is_wide=True),
    Column("finding", "prose", is_for_programs=True),
)


def backups_result(backups: Sequence[Backup]) -> Result:
    """Return the list of backups; for people the findings stand below, where they have room."""
    table = Table(COLUMNS, [backup_row(backup) for backup in backups])
    found = [(row[0], row[-1]) for row in table.rows if row[-1]]
    columns = Column("id", "prose"), Column("finding", "prose")
    return Result(table, {"findings": Table(columns, found, "Findings", is_for_people=True)})


def backup_row(backup: Backup) -> tuple[str | int | None, ...]:
    """One backup's row; a damaged manifest leaves most of it empty."""
    finding = backup.problem or backup.foreign or backup.proof.damage or backup.proof.failure
    manifest = backup.manifest
    if manifest is None:
        return (backup.id, backup.state, *[None] * (len(COLUMNS) - 4), str(backup.folder), finding)
    return (
        backup.id,
        backup.state,
        manifest.contents,
        manifest.format,
        manifest.compression,
        manifest.snapshot_at,
        len(manifest.tables),
        manifest.rows,
        manifest.size,
        backup.proof.proven_at or None,
        str(backup.folder),
        finding or None,
    )
