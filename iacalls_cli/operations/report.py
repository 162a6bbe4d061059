"""Reports: SQL files with a header, run with typed values, in a read-only session."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iacalls_cli.errors import DatabaseError, UsageError
from iacalls_cli.queries import Parameter, Query, load_topic, read_query
from iacalls_cli.table import Prose

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

AGO = re.compile(r"(\d+)\s*(min|h|d|w)")
AGO_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
BOOLEANS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
LARGEST = {"integer": 2**31 - 1, "bigint": 2**63 - 1}


@dataclass(frozen=True)
class Report:
    """A report in the list. `origin` is built-in or the file; `problem` says why it cannot run."""

    name: str
    description: Prose
    parameters: Prose
    origin: str
    problem: Prose | None = None


@dataclass(frozen=True)
class CheckedReport:
    """Whether the target can prepare a report. `state` is ok or problem."""

    name: str
    state: str
    columns: int | None
    problem: Prose | None


@dataclass(frozen=True)
class Clock:
    """What 'now' is, and the zone in which a day begins."""

    now: datetime
    zone: tzinfo

    @property
    def today(self) -> datetime:
        """The beginning of today in the zone."""
        return self.now.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)


def find_report(name: str, folder: Path | None) -> Query:
    """A report by name: a built-in one, else from the user's folder; a path ending in .sql is read.

    Raises `UsageError` when there is none, or when its file is no good.
    """
    if name.endswith(".sql"):
        return require_read_only(read_query(Path(name), Path(name).stem))
    built_in = {query.name.removeprefix("report/"): query for query in load_topic("report")}
    if name in built_in:
        return built_in[name]
    if folder is not None and (folder / f"{name}.sql").exists():
        return require_read_only(read_query(folder / f"{name}.sql", name))
    raise UsageError(f"there is no report {name}", "`iacalls report` lists them; a file's name ends in .sql")


def require_read_only(query: Query) -> Query:
    """Raise `UsageError` for a query that says it writes: reports only read."""
    if query.effect != "read-only":
        raise UsageError(
            f"the query {query.name} has effect: {query.effect}, and reports only read", "run it with psql"
        )
    return query


def report_names(folder: Path | None) -> list[str]:
    """The built-in reports, then the user's own."""
    own = sorted(path.stem for path in folder.glob("*.sql")) if folder is not None and folder.is_dir() else []
    names = [query.name.removeprefix("report/") for query in load_topic("report")]
    return names + [name for name in own if name not in names]


def list_reports(folder: Path | None) -> list[Report]:
    """All reports with what they are for; a file that is no good is listed with its problem."""
    reports = []
    for name in report_names(folder):
        try:
            query = find_report(name, folder)
        except UsageError as error:
            reports.append(Report(name, "", "", str(folder), f"{error.message}; {error.hint}"))
            continue
        origin = "built-in" if query.name.startswith("report/") else str(folder)
        parameters = " ".join(parameter_usage(parameter) for parameter in query.parameters)
        reports.append(Report(name, query.summary, parameters, origin))
    return reports


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
            raise UsageError(f"--param {assignment} has no =", "write --param name=value")
        if name not in names:
            raise UsageError(f"{query.name} has no parameter {name}", f"it has: {', '.join(names) or 'none'}")
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
                raise UsageError(f"the parameter {parameter.name} is missing", f"give --param {parameter.name}=…")
            value = parameter.default
        values[parameter.name] = None if value is None else read_value(parameter, str(value), clock)
    return values


def read_value(parameter: Parameter, text: str, clock: Clock) -> Any:
    """One value by its declared type; raises `UsageError` naming the parameter."""
    if parameter.choices and text not in parameter.choices:
        raise UsageError(f"{parameter.name} cannot be '{text}'", f"it is one of: {', '.join(parameter.choices)}")
    from decimal import Decimal, InvalidOperation

    try:
        match parameter.type:
            case "integer" | "bigint":
                if abs(number := int(text)) > LARGEST[parameter.type]:
                    raise ValueError
                return number
            case "numeric":
                return Decimal(text)
            case "boolean":
                return BOOLEANS[text.lower()]
            case "date":
                return read_moment(text, clock).date()
            case "timestamp":
                # Stored timestamps carry no zone and are UTC on the production server.
                return read_moment(text, clock).astimezone(UTC).replace(tzinfo=None)
            case _:
                return text
    except (ValueError, KeyError, InvalidOperation, OverflowError):
        wanted = {"date": "2025-10-29, today or yesterday", "timestamp": "2025-10-29, '2025-10-29 14:00', today or 7d"}
        raise UsageError(
            f"{parameter.name} is not a {parameter.type}: {text}",
            f"write for example {wanted.get(parameter.type, {'boolean': 'true'}.get(parameter.type, '10'))}",
        ) from None


def read_moment(text: str, clock: Clock) -> datetime:
    """A moment: today, yesterday, so long ago (7d, 24h), or ISO 8601 in the clock's zone.

    Raises `ValueError` for anything else.
    """
    words = {"now": clock.now, "today": clock.today, "yesterday": clock.today - timedelta(days=1)}
    if text.lower() in words:
        return words[text.lower()].astimezone(clock.zone)
    if match := AGO.fullmatch(text.strip().lower()):
        return (clock.now - timedelta(**{AGO_UNITS[match[2]]: int(match[1])})).astimezone(clock.zone)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=clock.zone)


def make_clock(zone: str) -> Clock:
    """The clock of a time zone; raises `UsageError` for one that does not exist."""
    if zone == "UTC":
        return Clock(datetime.now(UTC), UTC)
    from zoneinfo import ZoneInfo

    try:
        return Clock(datetime.now(UTC), ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise UsageError(f"there is no time zone {zone}", "write for example America/Bogota or UTC") from None


def shown_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON takes them."""
    plain = (str, int, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in values.items()}


def check_reports(connection: "Connection", folder: Path | None) -> list[CheckedReport]:
    """Have the target prepare every report, without running one."""
    from iacalls_cli.database.rows import describe

    checked = []
    for name in report_names(folder):
        try:
            columns = describe(connection, find_report(name, folder))
        except (UsageError, DatabaseError) as error:
            checked.append(CheckedReport(name, "problem", None, error.message))
        else:
            checked.append(CheckedReport(name, "ok", len(columns), None))
    return checked
