"""`iacalls report`: a command for each SQL file, made from the file's header."""

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from iacalls_cli.commands.invocation import (
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    Invocation,
    add_command,
    command,
)
from iacalls_cli.commands.report.folder import known_reports, queries_folder
from iacalls_cli.errors import UsageError
from iacalls_cli.group import Group
from iacalls_cli.options import Output, TimeZone
from iacalls_cli.output.write import Format, write_text
from iacalls_cli.queries import Parameter, Query


class ReportCommands(Group):
    """The commands written below, and one for each report."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Report names first, then the other commands."""
        return [*known_reports(), *self.commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command written below, or the report of that name."""
        from iacalls_cli.operations.report import built_in_names, find_report

        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name in built_in_names():
            return report_command(cmd_name, find_report(cmd_name, None))
        if cmd_name not in known_reports():
            return None
        try:
            return report_command(cmd_name, find_report(cmd_name, queries_folder()))
        except UsageError as error:
            return broken_command(cmd_name, error)


app = typer.Typer(
    name="report", cls=ReportCommands, help="Run the documented reports, and your own.", add_completion=False
)


def report_command(name: str, query: Query) -> Any:
    """The command of one report, made from its header."""

    def function(run: Invocation, tz: str, **given: Any) -> None:
        from iacalls_cli.commands.report.run import run_report

        values = {parameter.name: given[key_of(parameter)] for parameter in query.parameters}
        run_report(run, query, tz, values)

    holder = typer.Typer(add_completion=False)
    required = [parameter_of(parameter) for parameter in query.parameters if parameter.is_required]
    optional = [parameter_of(parameter) for parameter in query.parameters if not parameter.is_required]
    zone = inspect.Parameter("tz", inspect.Parameter.KEYWORD_ONLY, default="UTC", annotation=TimeZone)
    usage = " ".join(["iacalls report", name, *("1" for _ in required)])
    more = "\n".join(query.description.splitlines()[1:])
    add_command(
        holder,
        f"report {name}",
        function,
        [*required, *optional, zone],
        (OUTPUT_OPTIONS, TARGET_OPTIONS),
        as_help(f"{query.summary}\n\n{more}".strip()),
        (usage, f"{usage} -o csv"),
    )
    return typer.main.get_command(holder)


def broken_command(name: str, error: UsageError) -> Any:
    """A command for a file of the user's that is no good: it stands in the help and says why when it is used."""
    holder = typer.Typer(add_completion=False)
    # Whatever it is called with, what is wrong is the file.
    anything = {"ignore_unknown_options": True, "allow_extra_args": True}

    @holder.command(name, help=as_help(f"Cannot run: {error.message}. {error.hint}."), context_settings=anything)
    def refuse() -> None:
        raise error

    return typer.main.get_command(holder)


def parameter_of(parameter: Parameter) -> inspect.Parameter:
    """A query's parameter as one of a command: required ones are arguments, others options."""
    annotation: Any = int if parameter.type in ("integer", "bigint") else str
    if parameter.choices:
        annotation = cast("Any", Literal)[parameter.choices]
    kind = inspect.Parameter.KEYWORD_ONLY
    if parameter.is_required:
        argument = typer.Argument(metavar=parameter.name.upper(), help=as_help(parameter.help))
        return inspect.Parameter(key_of(parameter), kind, annotation=Annotated[annotation, argument])
    explained = as_help(f"{parameter.help}: {', '.join(parameter.choices)}" if parameter.choices else parameter.help)
    metavar = "NAME" if parameter.choices else parameter.type.upper()
    least = 0 if parameter.name == "limit" else None
    option = typer.Option(f"--{parameter.name.replace('_', '-')}", help=explained, metavar=metavar, min=least)
    default = int(parameter.default) if parameter.default and annotation is int else parameter.default
    return inspect.Parameter(key_of(parameter), kind, default=default, annotation=Annotated[annotation | None, option])


def as_help(text: str) -> str:
    """A user's words in a help, where square brackets would be markup."""
    return text.replace("[", r"\[")


def key_of(parameter: Parameter) -> str:
    """The name of a query's parameter in Python, where `from` and `class` are none."""
    return f"value_{parameter.name}"


@app.callback(invoke_without_command=True)
def reports(ctx: typer.Context, output: Output = Format.TABLE) -> None:
    """Run the documented reports, and your own; alone it lists them."""
    if ctx.invoked_subcommand is None:
        list_command(Invocation("report", output=output))
    elif output is not Format.TABLE:
        raise UsageError("--output stands before the report", f"write `iacalls report {ctx.invoked_subcommand} -o …`")


@command(
    app,
    "list",
    OUTPUT_OPTIONS,
    examples=(
        "iacalls report",
        "iacalls report list -o json",
    ),
)
def list_command(run: Invocation) -> None:
    """List the reports with what each is for and which options it takes."""
    from iacalls_cli.commands.report.list import list_all

    list_all(run)


@command(
    app,
    "run",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls report run busy.sql --param since=7d",
        "iacalls report run busy.sql -o csv > busy.csv",
    ),
)
def run_file(
    run: Invocation,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.sql", help="A SQL file; its header declares parameters, see docs/queries.md."),
    ],
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="NAME=VALUE", help="A parameter's value.")
    ] = None,
    tz: TimeZone = "UTC",
) -> None:
    """Run any SQL file of one statement, with or without a header, in a read-only session."""
    from iacalls_cli.commands.report.run import run_sql_file

    run_sql_file(run, file, param or [], tz)


@command(app, "show", examples=("iacalls report show top-clients",))
def show(
    run: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A report.", autocompletion=known_reports)],
) -> None:
    """Print a report's SQL."""
    from iacalls_cli.operations.report import find_report

    write_text(find_report(name, queries_folder()).text)


@command(app, "check", OUTPUT_OPTIONS, TARGET_OPTIONS, examples=("iacalls report check",))
def check(run: Invocation) -> None:
    """Have the target prepare every report, without running one; exit 4 when one cannot be."""
    from iacalls_cli.commands.report.check import check_all

    check_all(run)
