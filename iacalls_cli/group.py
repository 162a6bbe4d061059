"""What every command and group is: groups guess what was meant, commands take defaults from the config files."""

from difflib import get_close_matches
from typing import Any

import typer
from typer._click.exceptions import ClickException
from typer.core import TyperCommand, TyperGroup

from iacalls_cli.errors import IacallsError, UsageError

# Every error of Typer for a wrong command line. It has no public name before Typer 0.28 (typer.TyperException).
TYPER_ERROR: type[Exception] = ClickException
# The groups whose options have defaults in the config files, in a table of the same name.
CONFIGURED_GROUPS = ("backup", "maintain")


class Command(TyperCommand):
    """A command; the defaults of its options are those of the config files."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; raises `UsageError` for a broken config file, unless only help is wanted.

        Only what was checked becomes a default: Typer itself passes over unknown names. Completion goes without.
        """
        broken = None
        group = ctx.parent.info_name if ctx.parent is not None else ""
        if group in CONFIGURED_GROUPS and not ctx.resilient_parsing:
            from iacalls_cli.config.file import load_config

            try:
                ctx.default_map = load_config().option_defaults(group)
            except IacallsError as error:
                broken = error
        rest = super().parse_args(ctx, args)  # ends the command where help is wanted
        if broken is not None:
            raise broken
        return rest


class Group(TyperGroup):
    """A group of commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Print the help on stdout where nothing is asked for."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            raise typer.Exit
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is asked for; raises `UsageError` naming similar ones."""
        try:
            return super().resolve_command(ctx, args)
        except TYPER_ERROR:
            if args[0].startswith("-"):
                raise
            near = get_close_matches(args[0], self.list_commands(ctx))
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise UsageError(
                f"there is no command '{ctx.command_path} {args[0]}'", f"{meant}`{ctx.command_path} --help` lists them"
            ) from None
