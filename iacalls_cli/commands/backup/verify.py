"""`iacalls backup verify`."""

from functools import partial
from pathlib import Path

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.store import open_store, source_of
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.errors import IacallsError, ProblemsFound, UsageError
from iacalls_cli.operations.backup.verify import verify_backup
from iacalls_cli.operations.dated_directories import LATEST
from iacalls_cli.table import Column, Table


def verify_backups(run: Invocation, backup: str, directory: Path | None, *, is_all: bool) -> None:
    """Read backups whole and compare checksums; raise `ProblemsFound` for damage."""
    if is_all and backup not in LATEST:
        raise UsageError("--all and a backup's id contradict each other", "give one of them")
    store = open_store(directory)
    chosen = store.backups() if is_all else [store.find(backup, partial(source_of, run))]
    rows, failures = [], []
    for one in chosen:
        try:
            with diagnostics.waiting(f"reading {one.id}"):
                checked, findings = verify_backup(one)
        except (IacallsError, OSError) as error:
            if not is_all:
                raise
            # The others are verified all the same.
            failures.append(str(error))
            rows.append((one.id, one.state, str(error)))
            continue
        rows += [(one.id, checked.state, finding) for finding in findings or [""]]
    run.write(Table((Column("id", "prose"), Column("state"), Column("finding", "prose")), rows))
    bad = {row[0] for row in rows if row[2] and row[2] not in failures}
    if failures and not bad:
        raise IacallsError(
            f"{len(failures)} of {len(chosen)} backups could not be verified: {'; '.join(failures)}",
            "the others are as they were made",
        )
    if bad:
        raise ProblemsFound(
            f"{len(bad)} of {len(chosen)} backups are not as they were made: {', '.join(sorted(bad))}",
            "do not rely on them; make a new one with `iacalls backup create`",
        )
