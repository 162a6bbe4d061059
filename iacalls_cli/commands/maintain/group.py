"""The group `iacalls maintain`, and the options its commands share."""

import typer

from iacalls_cli.group import Group

app = typer.Typer(
    name="maintain",
    cls=Group,
    help="Clean, vacuum, analyze and reindex while the application goes on.",
    no_args_is_help=True,
    add_completion=False,
)
