"""The command group that every other one is: alone it prints its help, and it guesses what was meant."""

from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

from iacalls_cli.errors import UsageError

# typer.BadParameter's bases are its usage error and its general error; Typer gives the
# classes no public names.
TYPER_ERROR: type[Exception] = typer.BadParameter.__mro__[2]


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
