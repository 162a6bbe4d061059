"""`iacalls backup check`."""

from datetime import UTC, datetime
from pathlib import Path

from iacalls_cli.commands.backup.store import open_store
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.errors import ProblemsFound
from iacalls_cli.operations.backup.check import CheckLine, Demands, check_backups
from iacalls_cli.table import table_of
from iacalls_cli.units import read_age, read_share, read_size


def check_store(
    run: Invocation,
    database: str,
    directory: Path | None,
    max_age: str,
    min_size: str | None,
    max_shrink: str,
    max_proven_age: str | None,
) -> None:
    """Judge age, size and last restore test; raise `ProblemsFound` for each finding."""
    demands = read_demands(max_age, min_size, max_shrink, max_proven_age)
    lines = check_backups(open_store(directory), demands, datetime.now(UTC), database)
    run.write(table_of(CheckLine, lines))
    problems = [line for line in lines if line.state == "problem"]
    if problems:
        raise ProblemsFound(
            f"{len(problems)} findings: {'; '.join(line.detail for line in problems)}", "see the lines above"
        )


def read_demands(max_age: str, min_size: str | None, max_shrink: str, max_proven_age: str | None) -> Demands:
    """Return what `check` demands; raises `UsageError` for an empty option: a variable that was not set in a script."""
    return Demands(
        read_age("max-age", max_age),
        None if min_size is None else read_size("min-size", min_size),
        read_share("max-shrink", max_shrink),
        None if max_proven_age is None else read_age("max-proven-age", max_proven_age),
    )
