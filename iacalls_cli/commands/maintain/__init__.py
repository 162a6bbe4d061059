"""`iacalls maintain`: keep the database clean and fast while the application goes on."""

from iacalls_cli.commands.maintain.group import app

__all__ = ["app"]
