"""What `iacalls maintain cleanup` shows: the plan in words and as rows, and what became of it."""

from collections.abc import Iterator, Mapping, Sequence

from iacalls_cli.operations.maintain.cleanup.delete import RuleStats
from iacalls_cli.operations.maintain.cleanup.plan import CleanupPlan, Effect, Refused, RulePlan
from iacalls_cli.operations.maintain.cleanup.protection import Stuck
from iacalls_cli.operations.maintain.cleanup.run import CleanupResult
from iacalls_cli.table import Column, Result, Table
from iacalls_cli.text import count_of, pretty_size

PLAN_COLUMNS = (
    Column("rule"),
    Column("table"),
    Column("rows", "number"),
    Column("bytes", "bytes", is_wide=True),
    Column("cut_off", "time"),
    Column("age_column", is_wide=True),
    Column("oldest", "time", is_wide=True),
    Column("newest", "time", is_wide=True),
    Column("kept", "number", is_wide=True),
    Column("archive", "boolean", is_wide=True),
    Column("triggers", is_wide=True),
)
EFFECT_COLUMNS = (
    Column("rule"),
    Column("table"),
    Column("action"),
    Column("rows", "number"),
    Column("triggers", "prose"),
    Column("foreign_key", is_wide=True),
)
KEPT_COLUMNS = Column("rule"), Column("reason", "prose"), Column("rows", "number")
PROBLEM_COLUMNS = Column("rule"), Column("problem", "prose")
STUCK_COLUMNS = (
    Column("kind"),
    Column("id"),
    Column("name"),
    Column("status"),
    Column("since", "time"),
    Column("rows", "number"),
)
# Of batches that are stuck, so many are named in words.
NAMED_STUCK = 5
RESULT_COLUMNS = (
    Column("rule"),
    Column("table"),
    Column("deleted", "number"),
    Column("cascaded", "number"),
    Column("nulled", "number"),
    Column("skipped_locked", "number"),
    Column("transactions", "number", is_wide=True),
    Column("longest_ms", "number", is_wide=True),
    Column("complete", "boolean", is_wide=True),
    Column("remaining", "number", is_wide=True),
)
VACUUM_COLUMNS = (
    Column("table"),
    Column("state"),
    Column("before", "bytes"),
    Column("after", "bytes"),
    Column("dead_rows", "number"),
    Column("problem", "prose", hides_empty=True),
)
# Below this share of a table's rows, what is free will soon be used again; below this size it is nothing.
WORTH_REWRITING, WORTH_BYTES = 0.3, 8 << 20


def plan_lines(plan: CleanupPlan) -> Iterator[str]:
    """The plan in sentences, one rule a line, and one for each thing that goes along."""
    for rule in plan.rules:
        bound = rule.bound
        cut_off = bound.cut_off.isoformat(sep=" ", timespec="seconds")
        span = f", from {rule.oldest} to {rule.newest}" if rule.rows else ""
        size = f" ({pretty_size(rule.bytes)})" if rule.rows else ""
        yield (
            f"plan: {bound.rule.name}: {count_of(rule.rows, 'row')}{size} of {bound.rule} with "
            f"{bound.rule.age_column} before {cut_off}{span}{fired(rule.triggers)}"
        )
        for effect in rule.effects:
            yield f"plan: {bound.rule.name}: with them {effect_words(effect)}"
        for key in rule.cascades.keys if rule.rows else ():
            if key.is_slow:
                child, columns = plan.schema.relations[key.child], ", ".join(key.columns)
                yield f"plan: {bound.rule.name}: {child} has no index on {columns}: each row that goes reads all of it"
        for kept in rule.kept:
            stay = "stays" if kept.rows == 1 else "stay"
            yield f"plan: {bound.rule.name}: {count_of(kept.rows, 'old row')} {stay}: {kept.reason}"
    for refused in plan.refused:
        yield f"plan: {refused.rule.name} is left out: {reason_of(refused)}"
    yield from stuck_lines(plan.stuck)


def stuck_lines(stuck: Sequence[Stuck]) -> Iterator[str]:
    """The batches and campaigns that are not protected although their state is open."""
    for one in stuck[:NAMED_STUCK]:
        name = f" ({one.name})" if one.name else ""
        rows = f" with {count_of(one.rows, 'call')}" if one.rows is not None else ""
        yield f"plan: {one.kind} {one.id}{name}{rows} is {one.status} and stuck since {one.since}: not protected"
    if len(stuck) > NAMED_STUCK:
        yield f"plan: {len(stuck) - NAMED_STUCK:,} more are stuck; -o json lists them"


def effect_words(effect: Effect) -> str:
    """What happens to another table's rows."""
    ending = ("es" if effect.action == "delete" else "s") if effect.rows == 1 else ""
    what = f"go{ending}" if effect.action == "delete" else f"change{ending} ({effect.action})"
    return f"{count_of(effect.rows, 'row')} of {effect.table} {what} by {effect.foreign_key}{fired(effect.triggers)}"


def fired(triggers: tuple[str, ...]) -> str:
    """The triggers a delete or update fires, in words."""
    return f"; fires {', '.join(triggers)}" if triggers else ""


def plan_result(plan: CleanupPlan) -> Result:
    """The plan as rows, one a rule."""
    rules = Table(PLAN_COLUMNS, [plan_row(rule) for rule in plan.rules])
    effects = [
        (rule.bound.rule.name, e.table, e.action, e.rows, ", ".join(e.triggers) or None, e.foreign_key)
        for rule in plan.rules
        for e in rule.effects
    ]
    kept = [(rule.bound.rule.name, one.reason, one.rows) for rule in plan.rules for one in rule.kept]
    more = {
        "effects": Table(EFFECT_COLUMNS, effects, "What goes or changes with them"),
        "kept": Table(KEPT_COLUMNS, kept, "What stays"),
        "stuck": stuck_table(plan),
        "problems": problems_table(plan),
    }
    return Result(rules, more)


def stuck_table(plan: CleanupPlan) -> Table:
    """The batches and campaigns that are stuck."""
    rows = [(one.kind, one.id, one.name, one.status, one.since, one.rows) for one in plan.stuck]
    return Table(STUCK_COLUMNS, rows, "Stuck, and not protected")


def problems_table(plan: CleanupPlan, result: CleanupResult | None = None) -> Table:
    """The rules that were not carried out, and why."""
    rows = [(one.rule.name, reason_of(one)) for one in plan.refused]
    rows += [(name, error.message) for name, error in (result.problems if result else {}).items()]
    return Table(PROBLEM_COLUMNS, rows, "Not carried out")


def reason_of(refused: Refused) -> str:
    """Why a rule is left out, without its name."""
    return refused.error.message.removeprefix(f"rule {refused.rule.name}: ")


def plan_row(rule: RulePlan) -> tuple[str | int | bool | None, ...]:
    """One rule's row."""
    return (
        rule.bound.rule.name,
        str(rule.bound.rule),
        rule.rows,
        rule.bytes,
        rule.bound.cut_off.isoformat(sep=" ", timespec="seconds"),
        rule.bound.rule.age_column,
        rule.oldest,
        rule.newest,
        sum(kept.rows for kept in rule.kept),
        rule.bound.rule.has_archive,
        ", ".join(rule.triggers) or None,
    )


def cleanup_result(plan: CleanupPlan, result: CleanupResult, archives: Mapping[str, int | str]) -> Result:
    """What was done, one row a rule; `archives` tells what all of this database take."""
    rows = []
    for rule in plan.rules:
        stats = result.stats.get(rule.bound.rule.name, RuleStats(is_whole=rule.rows == 0))
        rows.append(
            (
                rule.bound.rule.name,
                str(rule.bound.rule),
                stats.deleted,
                stats.cascaded,
                stats.changed,
                stats.skipped_locked,
                stats.transactions,
                round(stats.longest * 1000),
                stats.is_whole,
                stats.remaining,
            )
        )
    vacuumed = [
        (
            str(one),
            one.state,
            one.before.size if one.before else None,
            one.after.size if one.after else None,
            one.after.dead_rows if one.after else None,
            one.problem or one.held_back or None,
        )
        for one in result.vacuumed
    ]
    archive = result.archive
    run = {
        "id": archive.id if archive else None,
        "archive": str(archive.folder) if archive else None,
        "archive_bytes": archive.bytes if archive else None,
        "state": result.state,
        "seconds": round(result.seconds, 3),
        "vacuum_seconds": round(result.vacuum_seconds, 3),
    }
    tables = {"vacuum": Table(VACUUM_COLUMNS, vacuumed, "Vacuumed"), "problems": problems_table(plan, result)}
    return Result(Table(RESULT_COLUMNS, rows), {"run": run, "archives": dict(archives), **tables})


def space_lines(plan: CleanupPlan, result: CleanupResult) -> Iterator[str]:
    """What the deletes mean for the disk, honestly."""
    done = [(one, one.before, one.after) for one in result.vacuumed if one.before and one.after]
    if done:
        freed = sum(one.freed for one, _, _ in done if one.freed > 0)
        grown = sum(-one.freed for one, _, _ in done if one.freed < 0)
        returned = f"{pretty_size(freed)} of it went back to the disk" if freed else "none of it went back to the disk"
        if grown and freed:
            sign = "less" if freed > grown else "more"
            returned += (
                f", {pretty_size(grown)} more is used elsewhere: {pretty_size(abs(freed - grown))} {sign} in all"
            )
        elif grown:
            returned += f", {pretty_size(grown)} more is used"
        size = pretty_size(sum(after.size for _, _, after in done))
        yield f"the space of the deleted rows is free for new ones; {returned} ({size} now)"
    for one, _, after in done:
        if one.held_back:
            yield f"{one}: {after.dead_rows:,} dead rows stay until {one.held_back} ends"
        share = free_share(plan, result, str(one), after.live_rows)
        if share > WORTH_REWRITING and after.size > WORTH_BYTES:
            yield (
                f"{one}: about {share:.0%} of its rows went: `iacalls maintain reindex {one}` shrinks its indexes, "
                f"`iacalls maintain vacuum --full {one}` itself too, under a lock"
            )
    for one in result.vacuumed:
        if one.state != "vacuumed":
            yield f"{one} was not vacuumed: {one.problem}; `iacalls maintain vacuum {one}` does it later"


def free_share(plan: CleanupPlan, result: CleanupResult, table: str, live_rows: int) -> float:
    """The share of a table's rows that its rules deleted."""
    gone = sum(
        stats.deleted
        for rule in plan.rules
        if str(rule.bound.rule) == table and (stats := result.stats.get(rule.bound.rule.name))
    )
    return gone / (gone + live_rows) if gone else 0.0
