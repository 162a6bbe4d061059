"""Running a report, or any SQL file that only reads."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import (
    Invocation,
    note_if_empty,
)
from iacalls_cli.database.rows import stream
from iacalls_cli.operations.db.row_count import plans_foreign_code
from iacalls_cli.operations.report import (
    admit,
    bind_values,
    read_assignments,
    require_known,
    require_read_only,
    shown_values,
)
from iacalls_cli.queries import Query, read_query
from iacalls_cli.table import Result
from iacalls_cli.values import make_clock

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session


def run_sql_file(run: Invocation, file: Path, param: list[str], tz: str) -> None:
    """Run a SQL file as a report."""
    query = require_read_only(read_query(file, file.stem, needs_header=False))
    run_report(run, query, tz, dict(read_assignments(query, param or [])))


def run_report(run: Invocation, query: Query, zone: str, given: dict[str, Any]) -> None:
    """Bind the values, connect, run, write."""
    values = bind_values(query, given, make_clock(zone))
    with run.session() as session:
        admit(session.connection, query)
        warn_of_foreign_code(session)
        with diagnostics.waiting(run.command):
            table = stream(session.connection, query, values)
        shown = shown_values(values)
        table = note_if_empty(table, shown, lambda: require_known(session.connection, query, values))
        run.write(Result(table, {"parameters": shown}))


def warn_of_foreign_code(session: "Session") -> None:
    """Warn a superuser of functions of other roles that run when their tables are read."""
    info = session.connection.info
    if info.parameter_status("is_superuser") == "on" and plans_foreign_code(session.connection):
        diagnostics.warning(
            f"indexes or constraints call functions of other roles, which run with the privileges of the superuser "
            f"{info.user} when their tables are read; use a role without superuser rights"
        )
