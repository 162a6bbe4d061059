"""What a cleanup would do, counted: rows and bytes, what goes with them, what changes, what stays and why."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import ConnectionFailed, IacallsError
from iacalls_cli.operations.maintain.cleanup.cascades import Cascades, union
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
from iacalls_cli.operations.maintain.relations import CASCADE, CHANGES, Schema, read_schema
from iacalls_cli.queries import load_query, load_template

# The header of a row and its pointer on the page, both aligned.
ROW_BYTES = 28


@dataclass(frozen=True)
class Effect:
    """What deleting a rule's rows does to another table, or to further rows of the same one.

    `action` is delete (a cascade), set null or set default; `triggers` are those of people's own
    that it fires.
    """

    table: str
    action: str
    rows: int
    foreign_key: str
    triggers: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """So many old rows that stay, and why."""

    reason: str
    rows: int


Counts = tuple[int, int, str | None, str | None, tuple[Effect, ...], tuple[Kept, ...]]


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


def count_simple(
    connection: Connection, bound: BoundRule, cascades: Cascades, earlier: sql.Composable | None
) -> Counts:
    """The counts of a rule on a table that nothing refers to: one scan, in parallel where the server likes."""
    alias = sql.Identifier(bound.rule.table)
    there: sql.Composable = sql.SQL("true")
    if earlier is not None:
        there = sql.SQL(
            "NOT EXISTS (SELECT FROM ({}) AS iacalls_e(rel, tid)"
            " WHERE iacalls_e.rel OPERATOR(pg_catalog.=) {alias}.tableoid"
            " AND iacalls_e.tid OPERATOR(pg_catalog.=) {alias}.ctid)"
        ).format(earlier, alias=alias)
    statement = sql.SQL(load_template("maintain/count-rows")).format(
        size=row_size(connection, bound),
        kept=kept_condition(bound, cascades),
        table=cascades.schema.relations[bound.oid].identifier,
        alias=alias,
        age=age_of(bound),
        old=bound.condition,
        there=there,
    )
    with application_path(connection):
        row = connection.execute(statement).fetchone() or (0, 0, None, None, 0)
    reason = cascades.protections[0].reason if cascades.protections else ""
    return (*row[:4], (), (Kept(reason, row[4]),) if row[4] else ())


def kept_condition(bound: BoundRule, cascades: Cascades) -> sql.Composable:
    """Whether a row of the rule's own table is protected."""
    own = [p for p in cascades.protections if p.oid in cascades.schema.relations[bound.oid].line]
    return own[0].condition(bound.rule.table) if own else sql.SQL("false")


def roots_of(bound: BoundRule, cascades: Cascades) -> sql.Composed:
    """The places of the rows that are old."""
    return sql.SQL("SELECT {alias}.tableoid, {alias}.ctid FROM {table} AS {alias} WHERE {old}").format(
        alias=sql.Identifier(bound.rule.table),
        table=cascades.schema.relations[bound.oid].identifier,
        old=bound.condition,
    )


def count_cascades(
    connection: Connection, bound: BoundRule, cascades: Cascades, earlier: sql.Composable | None
) -> Counts:
    """The counts of a rule whose rows others refer to, all from one snapshot."""
    alias = sql.Identifier(bound.rule.table)
    statement = sql.SQL(load_template("maintain/count-cascades")).format(
        cascades=cascades.with_roots(roots_of(bound, cascades), earlier),
        size=row_size(connection, bound),
        table=cascades.schema.relations[bound.oid].identifier,
        alias=alias,
        age=age_of(bound),
    )
    with application_path(connection):
        found = connection.execute(statement).fetchall()
    (own,) = (row for row in found if row[0] == "rule")
    effects = sorted([*deletions(cascades, found), *changes(cascades, found)], key=lambda one: (one.action, one.table))
    kept = tuple(Kept(row[2], row[3]) for row in sorted(found, key=str) if row[0] == "kept")
    return *own[3:7], tuple(effects), kept


def deletions(cascades: Cascades, found: Sequence[tuple[object, ...]]) -> list[Effect]:
    """The rows that go by cascade, a table's partitions together."""
    schema, rows = cascades.schema, dict[int, int]()
    for kind, oid, _, count, *_ in found:
        if kind == "delete" and isinstance(oid, int) and isinstance(count, int):
            top = schema.relations[oid].top
            rows[top] = rows.get(top, 0) + count
    return [
        Effect(
            str(schema.relations[top]),
            "delete",
            count,
            ", ".join(
                key.name for key in cascades.keys if key.action == CASCADE and schema.relations[key.child].top == top
            ),
            schema.triggers_of(top),
        )
        for top, count in rows.items()
    ]


def changes(cascades: Cascades, found: Sequence[tuple[object, ...]]) -> list[Effect]:
    """The rows that only lose their reference."""
    keys = {key.oid: key for key in cascades.keys}
    return [
        Effect(
            str(cascades.schema.relations[key.child]),
            CHANGES[key.action],
            count,
            key.name,
            cascades.schema.triggers_of(key.child, changed=key.changed),
        )
        for kind, oid, _, count, *_ in found
        if kind == "change" and isinstance(count, int) and (key := keys[oid])  # type: ignore[index]  # an oid
    ]


def age_of(bound: BoundRule) -> sql.Composed:
    """The age column, without a zone as it is stored."""
    return sql.SQL("{}.{}").format(sql.Identifier(bound.rule.table), sql.Identifier(bound.rule.age_column))


def row_size(connection: Connection, bound: BoundRule) -> sql.Composable:
    """The bytes of a row as stored: asked column by column, since asking for the row unpacks what is compressed."""
    columns = fetch(connection, load_query("maintain/columns"), {"oid": bound.oid})
    sizes = [
        sql.SQL("coalesce(pg_catalog.pg_column_size({}.{}), 0)").format(
            sql.Identifier(bound.rule.table), sql.Identifier(row["name"])
        )
        for row in columns
        if row["is_stored"]
    ]
    return sql.SQL(" OPERATOR(pg_catalog.+) ").join([sql.Literal(ROW_BYTES), *sizes])
