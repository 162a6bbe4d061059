"""`iacalls maintain vacuum`: plan, confirmation, work and results."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintain.work import (
    NAMED,
    collect,
    name_some,
    not_done,
    open_planner,
    open_workers,
    require_done,
    show_not_permitted,
)
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.maintain.vacuum import VacuumPlan, plan_vacuum, run_vacuum
from iacalls_cli.operations.maintain.vacuum_full import estimated_seconds, needed_bytes, require_disk_space
from iacalls_cli.operations.maintain.vacuum_table import VacuumResult
from iacalls_cli.table import Cell, Column, Table
from iacalls_cli.text import count_of, pretty_size
from iacalls_cli.units import rough_duration

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session


def vacuum_tables(run: Invocation, names: Sequence[str], *, is_full: bool, jobs: int) -> None:
    """Vacuum tables, and say what became of each."""
    if is_full and jobs > 1:
        raise UsageError("--full and --jobs contradict each other", "--full works table by table")
    with open_planner(run) as session:
        plan = plan_vacuum(session.connection, names, is_full=is_full)
        show_vacuum_plan(session, plan, jobs)
        if run.dry_run:
            run.write(vacuum_plan_table(plan))
            return
        confirm_vacuum(run, session, plan)
        with open_workers(run, min(jobs, len(plan.tables))) as workers, diagnostics.progress() as progress:
            working = run_vacuum(plan, workers, session.connection, progress)
            results = collect(working, len(plan.tables))
        run.write(vacuum_results(results))
        for result in results:
            if result.held_back and result.after:
                diagnostics.warning(
                    f"{result}: {result.after.dead_rows:,} dead rows stay, for {result.held_back} may still see them"
                )
    require_done([(str(one), one.problem) for one in results if not_done(one.state, names)], len(results), "vacuumed")


def show_vacuum_plan(session: "Session", plan: VacuumPlan, jobs: int) -> None:
    """The plan in a line, and what --full costs."""
    urgent = [f"{table} ({why})" for table in plan.tables if (why := table.need()[1])]
    at_once = min(jobs, len(plan.tables))
    way = f", {at_once} at a time" if at_once > 1 else ", one after the other" if len(plan.tables) > 1 else ""
    first = f"; most in need: {', '.join(urgent[:NAMED])}" if urgent and not plan.is_full else ""
    kind = "rewrite (VACUUM FULL)" if plan.is_full else "vacuum"
    diagnostics.note(f"plan: {kind} {count_of(len(plan.tables), 'table')} ({pretty_size(plan.size)}){way}{first}")
    show_not_permitted(session, plan.not_permitted, "vacuum")
    if plan.is_full and plan.tables:
        is_room_known = require_disk_space(session.connection, plan.tables)
        diagnostics.warning(
            "each table is locked (ACCESS EXCLUSIVE): nobody can read or write it until it is rewritten, in all "
            f"for about {rough_duration(estimated_seconds(plan.size))} (a guess: 50 MB a second)"
        )
        room = "which there is" if is_room_known else "and whether there is, cannot be known from here"
        diagnostics.note(
            f"room needed on the server's disk: up to {pretty_size(needed_bytes(plan.tables))}, {room}; "
            "and for the same again in WAL"
        )


def confirm_vacuum(run: Invocation, session: "Session", plan: VacuumPlan) -> None:
    """Ask for what is to be asked for."""
    if not plan.tables:
        diagnostics.note("there is no table to vacuum")
    elif plan.is_full:
        question = f"Nobody can use {name_some(plan.tables)} of {session.place.database} meanwhile."
        run.confirm_by_name(question, session.place.database, is_embedded=session.place.is_embedded)
    else:
        run.confirm_action(f"Vacuum {count_of(len(plan.tables), 'table')}?")


def vacuum_plan_table(plan: VacuumPlan) -> Table:
    """What would be done, in that order."""
    columns = (
        Column("table"),
        Column("size", "bytes"),
        Column("live_rows", "number"),
        Column("dead_rows", "number"),
        Column("verdict"),
        Column("reason", "prose", hides_empty=True),
    )
    verdict = "rewrite" if plan.is_full else "vacuum"
    rows = [(str(table), table.size, table.live_rows, table.dead_rows, verdict, "" if plan.is_full else table.need()[1])
            for table in plan.tables]  # fmt: skip
    rows += [(str(table), table.size, table.live_rows, table.dead_rows, "skip", "this role may not")
             for table in plan.not_permitted]  # fmt: skip
    return Table(columns, rows)


def vacuum_results(results: Sequence[VacuumResult]) -> Table:
    """What became of each table."""
    columns = (
        Column("table"),
        Column("state"),
        Column("size_before", "bytes"),
        Column("size_after", "bytes"),
        Column("dead_before", "number"),
        Column("dead_after", "number"),
        Column("seconds", "number"),
        Column("note", "prose", hides_empty=True),
    )
    return Table(columns, [vacuum_row(one) for one in results])


def vacuum_row(one: VacuumResult) -> tuple[Cell, ...]:
    """One table's row."""
    before, after = one.before, one.after
    return (
        str(one),
        one.state,
        before.size if before else None,
        after.size if after else None,
        before.dead_rows if before else None,
        after.dead_rows if after else None,
        round(one.seconds, 1),
        one.problem or (f"held back by {one.held_back}" if one.held_back else ""),
    )
