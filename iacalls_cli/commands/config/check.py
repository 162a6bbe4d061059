"""`iacalls config check`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.checks import ConfigError
from iacalls_cli.config.file import config_files, read_config
from iacalls_cli.errors import ProblemsFound
from iacalls_cli.table import Column, Table
from iacalls_cli.text import count_of

PLACES = tuple(Column(name, "prose", hides_empty=True) for name in ("table", "rule", "key"))
COLUMNS = (Column("file", "prose"), *PLACES, Column("finding", "prose"), Column("hint", "prose"))


def check_config(run: Invocation) -> None:
    """Print what is wrong with the config files; raise `ProblemsFound` if anything is."""
    files = config_files()
    _, problems = read_config(files)
    run.write(Table(COLUMNS, [finding_row(problem) for problem in problems]))
    if problems:
        raise ProblemsFound(f"{count_of(len(problems), 'finding')} in the config files", "see the lines above")
    found = " and ".join(str(file) for file in files if file.exists())
    looked_for = " or ".join(map(str, files))
    diagnostics.note(f"no findings in {found}" if found else f"there is no config file: {looked_for}")


def finding_row(problem: ConfigError) -> tuple[str | None, ...]:
    """Return one finding's row, without a secret."""
    place = problem.place
    finding = diagnostics.redact(problem.message.removeprefix(f"{place.file}: "))
    return (str(place.file), place.table or None, place.rule or None, place.key or None, finding, problem.hint)
