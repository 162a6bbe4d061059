"""`iacalls backup`: make, prove, keep and bring back backups."""

# Each module adds its commands to the group, in the order of the help.
from iacalls_cli.commands.backup import keeping, restoring, retention
from iacalls_cli.commands.backup.group import app

__all__ = ["app", "keeping", "restoring", "retention"]
