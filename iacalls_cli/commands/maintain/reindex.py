"""`iacalls maintain reindex`: plan, confirmation, work and results."""

from collections.abc import Sequence

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintain.work import (
    NAMED,
    collect,
    open_planner,
    open_workers,
    require_done,
)
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.maintain.rebuild_index import DUPLICATES, ReindexResult
from iacalls_cli.operations.maintain.reindex import ReindexPlan, plan_reindex, run_reindex
from iacalls_cli.table import Cell, Column, Table
from iacalls_cli.text import count_of, pretty_size
from iacalls_cli.units import read_duration

INDEXES = "index", "indexes"


def reindex(run: Invocation, names: Sequence[str], wait: str, *, is_all: bool) -> None:
    """Rebuild indexes, and say what became of each."""
    patience = read_wait(wait)
    with open_planner(run) as session:
        plan = plan_reindex(session.connection, names, is_all=is_all)
        show_plan(plan)
        if run.dry_run:
            run.write(plan_table(plan))
            return
        if plan.leftovers or plan.tasks:
            run.confirm_action(
                f"Rebuild {count_of(len(plan.tasks), *INDEXES)}?" if plan.tasks else "Remove what was left?"
            )
        with open_workers(run, 1) as (worker,), diagnostics.progress() as progress:
            working = run_reindex(plan, worker, session.connection, patience, progress, diagnostics.note)
            results = collect(working, len(plan.leftovers) + len(plan.tasks))
        run.write(results_table(results))
    problems = [(one.index, one.problem) for one in results if one.state == "failed"]
    is_hopeless = all((problem or "").startswith(DUPLICATES) for _, problem in problems)
    advice = "remove or change such rows, then reindex again" if is_hopeless else "try again later"
    require_done(problems, len(results), "rebuilt or removed", advice)


def read_wait(text: str) -> str:
    """How long to wait for older transactions, as PostgreSQL writes it; raises `UsageError`."""
    seconds = read_duration("--wait", text).total_seconds()
    if not 1 <= seconds <= 86_400:
        raise UsageError(f"--wait cannot be {text}", "give between 1s and 24h")
    return f"{seconds:.0f}s"


def show_plan(plan: ReindexPlan) -> None:
    """The plan in a line, and what is left alone."""
    if plan.leftovers:
        named = ", ".join(map(str, plan.leftovers[:NAMED]))
        diagnostics.note(
            f"plan: remove {count_of(len(plan.leftovers), *INDEXES)} that an unfinished REINDEX left: {named}"
        )
    fine = f"; {count_of(len(plan.fine), *INDEXES)} do not need it" if plan.fine else ""
    unknown = (
        f"; of {count_of(len(plan.unknown), *INDEXES)} nobody can tell (no statistics, or no B-tree)"
        if plan.unknown
        else ""
    )
    also = ", --all rebuilds them too" if plan.fine or plan.unknown else ""
    diagnostics.note(
        f"plan: rebuild {count_of(len(plan.tasks), *INDEXES)} ({pretty_size(plan.size)}){fine}{unknown}{also}"
    )
    reasons: dict[str, list[object]] = {}
    for suspect in plan.skipped:
        reasons.setdefault(suspect.reason, []).append(suspect.index)
    for reason, indexes in reasons.items():
        more = f" and {len(indexes) - NAMED} more" if len(indexes) > NAMED else ""
        diagnostics.note(f"left alone: {', '.join(map(str, indexes[:NAMED]))}{more}: {reason}")
    if plan.tasks and not plan.is_room_known:
        largest = max(task.index.guess or task.index.size or 0 for task in plan.tasks)
        diagnostics.note(
            f"room needed on the server's disk: about {pretty_size(2 * largest)}; whether there is cannot be known "
            "from here"
        )


COLUMNS = Column("index"), Column("table", is_wide=True)


def plan_table(plan: ReindexPlan) -> Table:
    """What would be done, in that order, and what need not be."""
    rows: list[tuple[Cell, ...]] = []
    for verdict, entries in (
        ("remove", [(index, "left by an unfinished REINDEX") for index in plan.leftovers]),
        ("rebuild", [(task.index, task.reason) for task in plan.tasks]),
        ("skip", [(one.index, one.reason) for one in plan.skipped]),
        ("unknown", [(index, "") for index in plan.unknown]),
        ("ok", [(index, "") for index in plan.fine]),
    ):
        for index, reason in entries:
            bloat = None if index.bloat is None else round(100 * index.bloat)
            rows.append((str(index), index.table, index.size, bloat, verdict, reason))
    columns = (
        *COLUMNS,
        Column("size", "bytes"),
        Column("bloat_percent", "number"),
        Column("verdict"),
        Column("reason", "prose", hides_empty=True),
    )
    # People are told how many need it not.
    others = rows[: len(rows) - len(plan.fine)]
    return Table(columns, rows, rows_for_people=others)


def results_table(results: Sequence[ReindexResult]) -> Table:
    """What became of each index."""
    columns = (
        *COLUMNS,
        Column("state"),
        Column("size_before", "bytes"),
        Column("size_after", "bytes"),
        Column("seconds", "number"),
        Column("note", "prose", hides_empty=True),
    )
    rows = [(one.index, one.table, one.state, one.size_before, one.size_after, round(one.seconds, 1), one.problem)
            for one in results]  # fmt: skip
    return Table(columns, rows)
