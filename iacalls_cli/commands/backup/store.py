"""The folder of backups as the options and the config file choose it, and how it is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli.config.file import load_config
from iacalls_cli.operations.backup.store import Backup, Store
from iacalls_cli.table import Column, Table

if TYPE_CHECKING:
    from iacalls_cli.config.backup import BackupSettings


def settings() -> "BackupSettings":
    """What the config files say of backups."""
    return load_config().backup


def open_store(directory: Path | None) -> Store:
    """The store: of `--directory`, else of the config file, else in the user's data folder."""
    import platformdirs

    default = platformdirs.user_data_path("iacalls", appauthor=False) / "backups"
    chosen = directory or settings().directory or default
    return Store(chosen.expanduser().absolute())


COLUMNS = (
    Column("id"),
    Column("state"),
    Column("contents"),
    Column("format"),
    Column("taken", "time", is_wide=True),
    Column("tables", "number", is_wide=True),
    Column("rows", "number"),
    Column("size", "bytes"),
    Column("proven_at", "time", is_wide=True),
    Column("finding", "prose"),
)


def backups_table(backups: Sequence[Backup]) -> Table:
    """The list of backups."""
    return Table(COLUMNS, [backup_row(backup) for backup in backups])


def backup_row(backup: Backup) -> tuple[str | int | None, ...]:
    """One backup's row; a damaged manifest leaves most of it empty."""
    finding = backup.problem or backup.proof.damage
    manifest = backup.manifest
    if manifest is None:
        return (backup.id, backup.state, *[None] * (len(COLUMNS) - 3), finding)
    return (
        backup.id,
        backup.state,
        manifest.contents,
        f"{manifest.format}, {manifest.compression}",
        manifest.snapshot_at,
        len(manifest.tables),
        manifest.rows,
        manifest.size,
        backup.proof.proven_at or None,
        finding or None,
    )
