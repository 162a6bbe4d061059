"""Reports: SQL files with a header, run with typed values, in a read-only session."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iacalls_cli.errors import DatabaseError, UsageError
from iacalls_cli.queries import Parameter, Query, load_query, load_topic, read_query
from iacalls_cli.table import Detail, Problem, Prose
from iacalls_cli.values import Clock, read_value

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

# The other commands of `iacalls report`, and the options that every report has.
TAKEN_NAMES = ("list", "run", "show", "check")
TAKEN_OPTIONS = ("dsn", "profile", "output", "quiet", "verbose", "tz", "help")


@dataclass(frozen=True)
class Report:
    """A report in the list. `origin` is built-in or the file; `problem` says why it cannot run."""

    name: str
    description: Prose
    parameters: Prose
    origin: Detail
    problem: Problem = None


@dataclass(frozen=True)
class CheckedReport:
    """Whether the target can prepare a report. `state` is ok or problem."""

    name: str
    state: str
    columns: int | None
    problem: Prose | None


def find_report(name: str, folder: Path | None) -> Query:
    """A report by name: a built-in one, else from the user's folder; a path ending in .sql is read.

    Raises `UsageError` when there is none, or when its file is no good.
    """
    if name.endswith(".sql"):
        return require_read_only(read_query(Path(name), Path(name).stem))
    if name in built_in_names():
        return load_query(f"report/{name}")
    path = own_files(folder).get(name)
    if path is None or name in TAKEN_NAMES:
        near = get_close_matches(name, report_names(folder))
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"there is no report {name}", f"{hint}`iacalls report` lists them; a file's name ends in .sql")
    query = require_read_only(read_query(path, name))
    for parameter in query.parameters:
        if parameter.name in TAKEN_OPTIONS:
            raise UsageError(
                f"{path}: every command has an option --{parameter.name}", "give the parameter another name"
            )
    return query


def require_read_only(query: Query) -> Query:
    """Raise `UsageError` for a query that says it writes: reports only read."""
    if query.effect != "read-only":
        raise UsageError(
            f"the query {query.name} has effect: {query.effect}, and reports only read", "run it with psql"
        )
    return query


def admit(connection: "Connection", query: Query) -> None:
    """Make the session ready for a query: a user's finds the tables of schema public by their bare names.

    Raises `UsageError` for a user's statement that returns no rows, before it runs: a read-only
    session refuses most of what writes, but not VACUUM, REINDEX or a COPY into a program, and
    none of these has columns.
    """
    from iacalls_cli.database.rows import describe

    if query.name.startswith("report/"):
        return
    connection.execute("SELECT set_config('search_path', 'pg_catalog, public, pg_temp', false)")
    if not describe(connection, query):
        raise UsageError(f"{query.name} returns no rows, and a report is rows", "run such a statement with psql")


def built_in_names() -> list[str]:
    """The reports that come with iacalls."""
    return [query.name.removeprefix("report/") for query in load_topic("report")]


def own_files(folder: Path | None) -> dict[str, Path]:
    """The SQL files in the user's query folder, by the names of their commands.

    Raises `UsageError` where the config file names a folder that is none.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise UsageError(f"the config file's query folder {folder} is not a folder", "make it, or correct [queries]")
    # Macs and Emacs leave files of their own there: ._name.sql, and the link .#name.sql.
    return {path.stem: path for path in sorted(folder.glob("*.sql")) if not path.name.startswith(".")}


def report_names(folder: Path | None) -> list[str]:
    """The built-in reports, then the user's own; a built-in name stays what it is."""
    names = built_in_names()
    return names + [name for name in own_files(folder) if name not in (*names, *TAKEN_NAMES)]


def list_reports(folder: Path | None) -> list[Report]:
    """All reports with what they are for; a file that is no good is listed with its problem."""
    reports = []
    for name in built_in_names():
        query = find_report(name, None)
        reports.append(Report(name, query.summary, parameters_usage(query), "built-in"))
    for name, path in own_files(folder).items():
        try:
            if name in (*built_in_names(), *TAKEN_NAMES):
                raise UsageError("iacalls has a report or command of this name", "give the file another one")
            query = find_report(name, folder)
        except UsageError as error:
            reports.append(Report(name, "", "", str(path), f"{error.message}; {error.hint}"))
        else:
            reports.append(Report(name, query.summary, parameters_usage(query), str(path)))
    return reports


def parameters_usage(query: Query) -> str:
    """A query's parameters as the command line takes them."""
    return " ".join(parameter_usage(parameter) for parameter in query.parameters)


def parameter_usage(parameter: Parameter) -> str:
    """A parameter as the command line takes it."""
    return parameter.name.upper() if parameter.is_required else f"--{option_name(parameter)}"


def option_name(parameter: Parameter) -> str:
    """A parameter's option, without the dashes in front."""
    return parameter.name.replace("_", "-")


def read_assignments(query: Query, assignments: Iterable[str]) -> dict[str, str]:
    """`name=value` texts as a mapping; raises `UsageError` for unknown names and missing ones."""
    names = [parameter.name for parameter in query.parameters]
    given = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator:
            raise UsageError(f"the parameter {assignment} has no =", "write name=value")
        if name not in names:
            raise UsageError(f"{query.name} has no parameter {name}", f"it has: {', '.join(names) or 'none'}")
        if name in given:
            raise UsageError(f"the parameter {name} is given twice", "give it once")
        given[name] = value
    return given


def bind_values(query: Query, given: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """The typed values of all parameters: the given ones, else the header's defaults.

    Raises `UsageError` naming the parameter that is missing or not of its type.
    """
    values = {}
    for parameter in query.parameters:
        value = given.get(parameter.name)
        if value is None:
            if parameter.is_required:
                raise UsageError(f"the parameter {parameter.name} is missing", f"give {parameter.name}=…")
            value = parameter.default
        values[parameter.name] = (
            None if value is None else read_value(parameter.name, parameter.type, parameter.choices, str(value), clock)
        )
    return values


def shown_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them."""
    plain = (str, int, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}


def require_known(connection: "Connection", query: Query, values: Mapping[str, Any]) -> None:
    """Raise `DatabaseError` for a group or client that is not there and that a built-in report was asked for.

    Meant for where a report found no row: what is misspelt finds nothing either.
    """
    from iacalls_cli.database.rows import stream

    if not query.name.startswith("report/"):
        return
    if (group := values.get("group")) is not None:
        names = [str(name) for (name,) in stream(connection, load_query("db/group-names"), {}).rows]
        if group not in names:
            near = get_close_matches(group, names)
            hint = f"did you mean {' or '.join(near)}?" if near else "`iacalls report groups` lists them"
            raise DatabaseError(f"there is no group {group}", hint)
    if (client := values.get("client_id")) is not None:
        found = list(stream(connection, load_query("db/find-client"), {"client_id": client}).rows)
        if not found:
            raise DatabaseError(f"there is no client {client}", "`iacalls report top-clients` lists those with calls")
        if found[0][0] != "t":
            raise DatabaseError(f"the client {client} is not active", "the report shows active clients only")


def check_reports(connection: "Connection", folder: Path | None) -> list[CheckedReport]:
    """Have the target prepare every report, without running one."""
    from iacalls_cli.database.rows import describe

    checked = []
    for report in list_reports(folder):
        if report.problem:
            checked.append(CheckedReport(report.name, "problem", None, report.problem))
            continue
        try:
            query = find_report(report.name, folder)
            admit(connection, query)
            columns = describe(connection, query)
        except (UsageError, DatabaseError) as error:
            checked.append(CheckedReport(report.name, "problem", None, f"{error.message}; {error.hint}"))
        else:
            checked.append(CheckedReport(report.name, "ok", len(columns), None))
    return checked
