"""`iacalls config show`."""

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.effective import EffectiveSetting, effective_settings
from iacalls_cli.config.file import load_config
from iacalls_cli.table import table_of


def show_config(run: Invocation) -> None:
    """Print each key, its value and its source."""
    run.write(table_of(EffectiveSetting, effective_settings(load_config())))
