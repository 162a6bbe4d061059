"""What a cleanup would do, counted: rows and bytes, what goes with them, what changes, what stays and why."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.errors import ConnectionFailed, IacallsError
from iacalls_cli.operations.maintain.cleanup.cascades import Cascades, union
from iacalls_cli.operations.maintain.cleanup.counting import (
    Effect,
    Kept,
    count_cascades,
    count_simple,
    kept_condition,
    roots_of,
)
from iacalls_cli.operations.maintain.cleanup.privileges import require_access, require_places
from iacalls_cli.operations.maintain.cleanup.protection import Activity, Stuck, read_protections
from iacalls_cli.operations.maintain.cleanup.rules import BoundRule, Rule, naming_filter
from iacalls_cli.operations.maintain.cleanup.safeguards import (
    require_keys,
    require_origin,
    require_permitted,
    warn_of_cleanup,
    warn_of_unvalidated,
)
from iacalls_cli.operations.maintain.relations import Schema, read_schema


@dataclass(frozen=True)
class RulePlan:
    """What one rule would delete. `bytes` are those of the stored values, without indexes.

    `oldest` and `newest` are ages as PostgreSQL writes them, which may be -infinity. `is_simple` says
    that nothing refers to the rows, so that a delete is only that; `gone` is a query for the rel and
    tid of all that goes.
    """

    bound: BoundRule
    cascades: Cascades
    is_simple: bool
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None
    effects: tuple[Effect, ...]
    kept: tuple[Kept, ...]
    triggers: tuple[str, ...]
    gone: sql.Composed


@dataclass(frozen=True)
class Refused:
    """A rule that cannot be carried out, and why; the others are."""

    rule: Rule
    error: IacallsError


@dataclass(frozen=True)
class CleanupPlan:
    """All rules' plans, in the order in which they run.

    `stuck` are batches and campaigns that are not protected although their state is open; `warnings` are of
    the code of others that would run as a superuser.
    """

    schema: Schema
    rules: tuple[RulePlan, ...]
    refused: tuple[Refused, ...] = ()
    stuck: tuple[Stuck, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """The rows that all rules together would delete, cascades included."""
        return sum(rule.rows + sum(e.rows for e in rule.effects if e.action == "delete") for rule in self.rules)


def plan_cleanup(
    connection: Connection, rules: Sequence[BoundRule], activity: Activity, refused: Sequence[Refused] = ()
) -> CleanupPlan:
    """Count what the rules would do one after the other, all in one snapshot; nothing can be changed.

    What two rules would take goes with the first of them, and is counted there. A rule that cannot be carried
    out is added to those that were `refused` before. Raises `DatabaseError` where none is left, or where the
    session itself is not fit for it.
    """
    plans: list[RulePlan] = []
    failed = list(refused)
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        require_origin(connection)
        schema = read_schema(connection)
        stuck: dict[Stuck, None] = {}
        for bound in rules:
            with noting(connection, bound.rule, failed):
                cascades = find_cascades(connection, schema, bound)
                protections, found = read_protections(connection, schema, cascades.emptied, activity)
                cascades = replace(cascades, protections=protections)
                meeting = [plan.gone for plan in plans if plan.rows and plan.cascades.emptied & cascades.looked_at]
                with naming_filter(bound.rule):
                    plans.append(plan_rule(connection, bound, cascades, union(meeting) if meeting else None))
                stuck.update(dict.fromkeys(found))
        warnings = [line for plan in plans if plan.rows for line in warn_of_cleanup(connection, plan.cascades)]
        warnings += [
            line
            for plan in plans
            if plan.rows and plan.bound.rule.has_archive
            for line in warn_of_unvalidated(connection, plan.cascades)
        ]
    if failed and not plans:
        raise failed[0].error
    return CleanupPlan(schema, tuple(plans), tuple(failed), tuple(stuck), tuple(dict.fromkeys(warnings)))


@contextmanager
def noting(connection: Connection, rule: Rule, failed: list[Refused]) -> Iterator[None]:
    """Note a rule that cannot be carried out, and let the snapshot go on; a lost connection is raised."""
    try:
        with connection.transaction():
            yield
    except ConnectionFailed:
        raise
    except IacallsError as error:
        failed.append(Refused(rule, error))


def find_cascades(connection: Connection, schema: Schema, bound: BoundRule) -> Cascades:
    """What hangs on a rule's table; raises `IacallsError` where that cannot be deleted."""
    cascades = Cascades(schema, bound.oid, schema.reachable(bound.oid), ())
    cascades.require_order()
    require_access(connection, bound.rule.name, cascades)
    require_places(connection, bound.rule.name, cascades)
    require_keys(connection, f"rule {bound.rule.name}: ", cascades.keys)
    require_permitted(connection, bound.rule.name, cascades)
    return cascades


def count_left(connection: Connection, plan: RulePlan) -> int:
    """How many rows a rule would still delete."""
    with connection.transaction(), naming_filter(plan.bound.rule):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        count = count_simple if plan.is_simple else count_cascades
        return count(connection, plan.bound, plan.cascades, None)[0]


def plan_rule(connection: Connection, bound: BoundRule, cascades: Cascades, earlier: sql.Composable | None) -> RulePlan:
    """Count what one rule would do to the rows that `earlier` leaves."""
    schema = cascades.schema
    is_simple = has_own_rows_only(cascades)
    count = count_simple if is_simple else count_cascades
    rows, size, oldest, newest, effects, kept = count(connection, bound, cascades, earlier)
    if is_simple:
        gone = sql.SQL("SELECT {0}.tableoid, {0}.ctid FROM {1} AS {0} WHERE {2} AND NOT {3}").format(
            sql.Identifier(bound.rule.table),
            schema.relations[bound.oid].identifier,
            bound.condition,
            kept_condition(bound, cascades),
        )
    else:
        gone = sql.SQL("({} SELECT rel, tid FROM gone)").format(cascades.with_roots(roots_of(bound, cascades), earlier))
    triggers = schema.triggers_of(bound.oid) if rows else ()
    return RulePlan(bound, cascades, is_simple, rows, size, oldest, newest, effects, kept, triggers, gone)


def has_own_rows_only(cascades: Cascades) -> bool:
    """Whether a delete is only that: nothing refers to the rows, no trigger interferes, no partition is protected."""
    line = cascades.schema.relations[cascades.oid].line
    return (
        not cascades.keys
        and not cascades.schema.triggers_of(cascades.oid)
        and all(protection.oid in line for protection in cascades.protections)
    )
