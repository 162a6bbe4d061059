"""`iacalls config`: what the config files say, and what is wrong with them."""

import typer

from iacalls_cli.commands.invocation import OUTPUT_OPTIONS, Invocation, command
from iacalls_cli.group import Group

app = typer.Typer(
    name="config",
    cls=Group,
    help="Show and check the configuration.",
    no_args_is_help=True,
    add_completion=False,
)


@command(app, "show", OUTPUT_OPTIONS, examples=("iacalls config show", "iacalls config show -o json"))
def show(run: Invocation) -> None:
    """Show the effective configuration: each key, its value and its source.

    The source is the config file that sets the key, or `default`. Passwords, and what hooks are called with,
    are never shown.
    """
    from iacalls_cli.commands.config.show import show_config

    show_config(run)


@command(app, "check", OUTPUT_OPTIONS, examples=("iacalls config check", "iacalls config check -o json"))
def check(run: Invocation) -> None:
    """Check the config files; exit 4 with a line for each finding.

    Files that do not exist are fine.
    """
    from iacalls_cli.commands.config.check import check_config

    check_config(run)
