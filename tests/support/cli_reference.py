"""docs/cli.md, made from the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer

from iacalls_cli.app import app

HEAD = """# Command reference

This page is made from the commands' own help by `make golden`; a test keeps it in step.
Exit codes, formats and the choice of the target are in [usage.md](usage.md).
"""


def walk() -> Iterator[tuple[str, Any, Any]]:
    """Every command and group: its full name, its context, itself."""
    root = typer.main.get_command(app)
    yield from walk_below(root, typer.Context(root, info_name="iacalls"))


def walk_below(command: Any, context: Any) -> Iterator[tuple[str, Any, Any]]:
    """A command and those below it."""
    yield context.command_path, context, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            yield from walk_below(child, typer.Context(child, info_name=name, parent=context))


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(section(path, context, command) for path, context, command in walk())


def section(path: str, context: Any, command: Any) -> str:
    """One command."""
    lines = ["", f"## `{path}`", "", command.help or "", "", "```", usage(path, context, command), "```", ""]
    records = [record for parameter in command.get_params(context) if (record := row(parameter, context))]
    if records:
        lines += ["| option | meaning |", "|---|---|", *records, ""]
    if hasattr(command, "list_commands"):
        names = command.list_commands(context)
        lines += ["Commands: " + ", ".join(f"[`{name}`](#{anchor(path, name)})" for name in names) + "", ""]
    if command.epilog:
        examples = [line.strip() for line in command.epilog.splitlines()[1:] if line.strip()]
        lines += ["```", *examples, "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def usage(path: str, context: Any, command: Any) -> str:
    """The usage line."""
    return " ".join([path, *command.collect_usage_pieces(context)])


def row(parameter: Any, context: Any) -> str:
    """One option or argument as a table row."""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    _, text = record
    if parameter.param_type_name == "argument":
        return f"| `{parameter.metavar}` | {parameter.help} |"
    name = " ".join(filter(None, [", ".join(parameter.opts), parameter.metavar]))
    return f"| `{name.replace('|', ' ')}` | {text.replace('|', ' ')} |"


def anchor(path: str, name: str) -> str:
    """GitHub's anchor of a command's heading."""
    return f"{path} {name}".replace(" ", "-")
