"""`iacalls demo`: database, sample data, and a tour of the reports."""

import os
import shutil
import sys
from contextlib import ExitStack
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.db.init import open_database
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintenance_database import MAINTENANCE
from iacalls_cli.config.target import EMBEDDED, choose_target, from_dsn
from iacalls_cli.database.connection import REPORTING, Limits
from iacalls_cli.database.rows import stream
from iacalls_cli.embedded.server import DATABASE
from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.db.init import create_database, database_exists
from iacalls_cli.operations.db.temporary import lock_creation
from iacalls_cli.operations.report import bind_values, find_report
from iacalls_cli.operations.sample.load import load_sample
from iacalls_cli.operations.users import DEFAULT_PASSWORD
from iacalls_cli.output.write import write_tables, write_text
from iacalls_cli.table import Table
from iacalls_cli.values import make_clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Connection, Session

# The documented reports, with how many rows of each are shown; the widest ones get few.
TOUR = {"stats": 1, "groups": 5, "calls": 5, "whatsapp": 5, "top-clients": 5, "durations": 5, "group-statistics": 2,
        "client-history": 2, "batch-statistics": 2}  # fmt: skip


def run_demo(run: Invocation, scale: float, seed: int, until: str | None) -> None:
    """Prepare the embedded database and show the documented reports."""
    target, anchor = from_dsn(EMBEDDED, "demo"), read_anchor(until)
    prepare(run, target, lambda connection, progress: load_sample(connection, scale, seed, anchor, progress))
    with run.session(target=target, limits=REPORTING) as session:
        for name, rows in TOUR.items():
            show(session, name, rows)
    write_text(next_steps())


def read_anchor(until: str | None) -> datetime:
    """The moment that sample data take for now: the evening of the last day, or the quarter of a day that is over.

    The data then stay the same for some hours, and none of them lies in the future.
    """
    if until is None:
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0, tzinfo=None)
        return now.replace(hour=now.hour // 6 * 6)
    try:
        return datetime.combine(date.fromisoformat(until), time(18))
    except ValueError:
        raise UsageError(f"--until is not a date: {until}", "write for example 2025-11-30") from None


def prepare(run: Invocation, target: "Target", load: "Callable[[Connection, diagnostics.Progress], bool]") -> None:
    """Create database, schema and sample data, each where it is missing."""
    # A second demo waits for the first one's load, however long that is.
    patient = Limits(statement_timeout="0", lock_timeout="0")
    with ExitStack() as stack:
        maintenance = stack.enter_context(
            run.session(target=target, database=MAINTENANCE, read_only=False, limits=patient, is_named=False)
        )
        lock_creation(maintenance.connection, DATABASE, wait=True)
        if not database_exists(maintenance.connection, DATABASE):
            diagnostics.note(f"creating {DATABASE} with the documented schema; admin's password is {DEFAULT_PASSWORD}")
            create_database(maintenance.connection, DATABASE, DEFAULT_PASSWORD, partial(open_database, run, target))
        session = stack.enter_context(run.session(target=target, read_only=False, limits=patient, is_named=False))
        with diagnostics.progress() as progress:
            is_loaded = load(session.connection, progress)
        if not is_loaded:
            diagnostics.note(f"{DATABASE} holds data already, nothing is loaded")


def show(session: "Session", name: str, rows: int) -> None:
    """Show one report as it would be shown at the terminal, some rows of it."""
    query = find_report(name, None)
    given = {parameter.name: 1 for parameter in query.parameters if parameter.is_required}
    if any(parameter.name == "limit" for parameter in query.parameters):
        given["limit"] = rows
    table = stream(session.connection, query, bind_values(query, given, make_clock("UTC")))
    arguments = " ".join(str(given[parameter.name]) for parameter in query.parameters if parameter.is_required)
    title = f"iacalls report {name} {arguments}".rstrip() + f": {query.summary}"
    write_tables([Table(table.columns, table.rows, title)], sys.stdout)
    write_text("")


def next_steps() -> str:
    """How to go on, with the command as it can be typed here."""
    program = own_name()
    option = "" if is_default_target() else " --dsn embedded"
    return (
        "That was sample data on the embedded server. Go on with:\n"
        f"  {program} report groups{option}\n"
        f"  {program} report calls --status failed --since 30d -o csv{option}\n"
        f"  {program} db verify{option}\n"
        f"  {program} db diagram{option}\n"
        f"  {program} backup create{option}\n"
        f"  {program} monitor sizes{option}\n"
        f"  {program} server status\n"
        f"  {program} --help"
    )


def own_name() -> str:
    """`iacalls` where that finds this very program, else the path it was called by."""
    called, found = Path(sys.argv[0]).absolute(), shutil.which("iacalls")
    if called.name != "iacalls" or (found and called.samefile(found)):
        return "iacalls"
    return os.path.relpath(called)


def is_default_target() -> bool:
    """Whether a command without --dsn would use the embedded server too."""
    try:
        return choose_target(None, None).is_embedded
    except IacallsError:
        return False
