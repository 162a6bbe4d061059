"""`iacalls backup list`."""

from pathlib import Path

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.store import backups_result, open_store
from iacalls_cli.commands.invocation import Invocation


def list_all(run: Invocation, database: str, directory: Path | None) -> None:
    """List backups, the latest first."""
    store = open_store(directory)
    backups = store.of_database(database)
    if not backups:
        of = f" of {database}" if database else ""
        diagnostics.note(f"there is no backup{of} in {store.directory}; `iacalls backup create` makes one")
    run.write(backups_result(backups))
