"""`iacalls maintain analyze`: plan, confirmation, work and results."""

from collections.abc import Sequence

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintain.work import (
    collect,
    not_done,
    open_planner,
    open_workers,
    require_done,
    show_not_permitted,
)
from iacalls_cli.operations.maintain.analyze import AnalyzePlan, AnalyzeResult, plan_analyze, run_analyze
from iacalls_cli.table import Column, Table
from iacalls_cli.text import count_of


def analyze_tables(run: Invocation, names: Sequence[str], *, is_all: bool) -> None:
    """Analyze tables, and say what became of each."""
    with open_planner(run) as session:
        plan = plan_analyze(session.connection, names, is_all=is_all)
        fresh = (
            f"; the statistics of {count_of(len(plan.fresh), 'table')} are fresh, --all renews them too"
            if plan.fresh
            else ""
        )
        diagnostics.note(f"plan: analyze {count_of(len(plan.tables), 'table')}{fresh}")
        show_not_permitted(session, plan.not_permitted, "analyze")
        if run.dry_run:
            run.write(analyze_plan_table(plan))
            return
        if plan.tables:
            run.confirm_action(f"Analyze {count_of(len(plan.tables), 'table')}?")
        with open_workers(run, min(1, len(plan.tables))) as workers, diagnostics.progress() as progress:
            working = run_analyze(plan, workers, session.connection, progress)
            results = collect(working, len(plan.tables))
        run.write(analyze_results(results))
    require_done([(str(one), one.problem) for one in results if not_done(one.state, names)], len(results), "analyzed")


def analyze_plan_table(plan: AnalyzePlan) -> Table:
    """What would be done, in that order."""
    columns = (
        Column("table"),
        Column("live_rows", "number"),
        Column("changed_rows", "number"),
        Column("analyzed", "time"),
        Column("verdict"),
    )
    rows = [
        (str(table), table.live_rows, table.changed_rows, table.analyzed, verdict)
        for verdict, tables in (("analyze", plan.tables), ("skip", plan.not_permitted), ("fresh", plan.fresh))
        for table in tables
    ]
    return Table(columns, rows)


def analyze_results(results: Sequence[AnalyzeResult]) -> Table:
    """What became of each table."""
    columns = (
        Column("table"),
        Column("state"),
        Column("changed_rows", "number"),
        Column("rows", "number"),
        Column("seconds", "number"),
        Column("note", "prose", hides_empty=True),
    )
    rows = [(str(one), one.state, one.changed_rows, one.rows, round(one.seconds, 1), one.problem)
            for one in results]  # fmt: skip
    return Table(columns, rows)
