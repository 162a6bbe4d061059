"""`iacalls backup check`."""

from datetime import UTC, datetime
from pathlib import Path

from iacalls_cli.commands.backup.store import open_store, settings
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.errors import ProblemsFound
from iacalls_cli.operations.backup.check import CheckLine, Demands, check_backups
from iacalls_cli.table import table_of
from iacalls_cli.units import read_age, read_share, read_size


def check_store(
    run: Invocation,
    database: str,
    directory: Path | None,
    max_age: str | None,
    min_size: str | None,
    max_shrink: str | None,
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


def read_demands(max_age: str | None, min_size: str | None, max_shrink: str | None, proven: str | None) -> Demands:
    """What `check` demands: the options, else the config file, else what is usual."""
    config, usual = settings(), Demands()
    # An empty option is a variable that was not set in a script, and no wish for what is usual.
    age = config.max_age if max_age is None else max_age
    size = config.min_size if min_size is None else min_size
    shrink = config.max_shrink if max_shrink is None else max_shrink
    proven = config.max_proven_age if proven is None else proven
    return Demands(
        usual.max_age if age is None else read_age("max-age", age),
        usual.min_size if size is None else read_size("min-size", size),
        usual.max_shrink if shrink is None else read_share("max-shrink", shrink),
        usual.max_proven_age if proven is None else read_age("max-proven-age", proven),
    )
