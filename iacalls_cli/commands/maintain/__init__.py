"""`iacalls maintain`: keep the database clean and fast while the application goes on."""

# Each module adds its commands to the group, in the order of the help.
from iacalls_cli.commands.maintain import cleaning, upkeep
from iacalls_cli.commands.maintain.group import app

__all__ = ["app", "cleaning", "upkeep"]
