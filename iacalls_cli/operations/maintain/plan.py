"""What a cleanup would do, counted: rows and bytes, what goes with them, what changes, what stays and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.maintain.closure import Closure
from iacalls_cli.operations.maintain.protection import Protection, read_protections
from iacalls_cli.operations.maintain.references import CASCADE, CHANGES, Schema, read_schema
from iacalls_cli.operations.maintain.rules import BoundRule
from iacalls_cli.queries import load_query

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


@dataclass(frozen=True)
class RulePlan:
    """What one rule would delete. `bytes` are those of the stored values, without indexes.

    `oldest` and `newest` are ages as PostgreSQL writes them, which may be -infinity.
    """

    bound: BoundRule
    closure: Closure
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None
    effects: tuple[Effect, ...]
    kept: tuple[Kept, ...]
    triggers: tuple[str, ...]

    @property
    def is_simple(self) -> bool:
        """Whether nothing refers to its rows, so that a delete is only that."""
        return not self.closure.keys


@dataclass(frozen=True)
class CleanupPlan:
    """All rules' plans, in the order in which they run."""

    schema: Schema
    rules: tuple[RulePlan, ...]

    @property
    def rows(self) -> int:
        """The rows that all rules together would delete, cascades included."""
        return sum(rule.rows + sum(e.rows for e in rule.effects if e.action == "delete") for rule in self.rules)


def plan_cleanup(connection: Connection, rules: Sequence[BoundRule]) -> CleanupPlan:
    """Count what the rules would do, rule by rule; nothing is changed. Raises `DatabaseError`."""
    schema = read_schema(connection)
    protections = read_protections(connection, schema)
    return CleanupPlan(schema, tuple(plan_rule(connection, schema, protections, bound) for bound in rules))


def plan_rule(connection: Connection, schema: Schema, protections: Sequence[Protection], bound: BoundRule) -> RulePlan:
    """Count what one rule would do."""
    keys = schema.reachable(bound.oid)
    schema.deletion_order(bound.oid)  # raises where there is none
    reached = {schema.relations[bound.oid].top} | {
        schema.relations[key.child].top for key in keys if key.action == CASCADE
    }
    closure = Closure(schema, keys, tuple(one for one in protections if schema.relations[one.oid].top in reached))
    count = count_closure if keys else count_simple
    rows, size, oldest, newest, effects, kept = count(connection, bound, closure)
    return RulePlan(
        bound, closure, rows, size, oldest, newest, effects, kept, schema.triggers_of(bound.oid) if rows else ()
    )


Counts = tuple[int, int, str | None, str | None, tuple[Effect, ...], tuple[Kept, ...]]


def count_simple(connection: Connection, bound: BoundRule, closure: Closure) -> Counts:
    """The counts of a rule on a table that nothing refers to: one scan, in parallel where the server likes."""
    statement = sql.SQL(
        "SELECT count(*) FILTER (WHERE NOT kept), coalesce(sum(size) FILTER (WHERE NOT kept), 0)::bigint,"
        " min(age) FILTER (WHERE NOT kept)::text, max(age) FILTER (WHERE NOT kept)::text, count(*) FILTER (WHERE kept)"
        " FROM (SELECT {age} AS age, {size} AS size, {kept} AS kept FROM {table} AS {alias} WHERE {old}) AS r"
    ).format(
        size=row_size(connection, bound),
        kept=kept_condition(bound, closure),
        table=closure.schema.relations[bound.oid].identifier,
        alias=sql.Identifier(bound.rule.table),
        age=age_of(bound),
        old=bound.condition,
    )
    with database_errors():
        row = connection.execute(statement).fetchone() or (0, 0, None, None, 0)
    reason = closure.protections[0].reason if closure.protections else ""
    return (*row[:4], (), (Kept(reason, row[4]),) if row[4] else ())


def kept_condition(bound: BoundRule, closure: Closure) -> sql.Composable:
    """Whether a row of the rule's own table is protected."""
    own = [p for p in closure.protections if p.oid in closure.schema.relations[bound.oid].line]
    return own[0].condition(bound.rule.table) if own else sql.SQL("false")


def count_closure(connection: Connection, bound: BoundRule, closure: Closure) -> Counts:
    """The counts of a rule whose rows others refer to, all from one snapshot."""
    alias = sql.Identifier(bound.rule.table)
    roots = sql.SQL("SELECT {alias}.tableoid, {alias}.ctid FROM {table} AS {alias} WHERE {old}").format(
        alias=alias, table=closure.schema.relations[bound.oid].identifier, old=bound.condition
    )
    statement = sql.SQL(
        """{closure}
        SELECT 'rule', NULL::bigint, NULL, count(*), coalesce(sum({size}), 0)::bigint,
               min({age})::text, max({age})::text
          FROM {table} AS {alias} JOIN gone AS g ON g.rel = {alias}.tableoid AND g.tid = {alias}.ctid
          JOIN roots AS r ON r.rel = g.rel AND r.tid = g.tid
        UNION ALL
        SELECT 'delete', g.rel::bigint, NULL, count(*), NULL, NULL, NULL FROM gone AS g
         WHERE NOT EXISTS (SELECT FROM roots AS r WHERE r.rel = g.rel AND r.tid = g.tid) GROUP BY g.rel
        UNION ALL
        SELECT 'change', key, NULL, count(DISTINCT (rel, tid)), NULL, NULL, NULL FROM changed GROUP BY key
        UNION ALL
        SELECT 'kept', NULL, reason, count(*), NULL, NULL, NULL FROM kept GROUP BY reason"""
    ).format(
        closure=closure.with_roots(roots),
        size=row_size(connection, bound),
        table=closure.schema.relations[bound.oid].identifier,
        alias=alias,
        age=age_of(bound),
    )
    with database_errors():
        found = connection.execute(statement).fetchall()
    (own,) = (row for row in found if row[0] == "rule")
    effects = [*deletions(closure, found), *changes(closure, found)]
    kept = tuple(Kept(row[2], row[3]) for row in sorted(found, key=str) if row[0] == "kept")
    return (*own[3:7], tuple(effects), kept)


def deletions(closure: Closure, found: Sequence[tuple[object, ...]]) -> list[Effect]:
    """The rows that go by cascade, a table's partitions together."""
    schema, rows = closure.schema, dict[int, int]()
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
                key.name for key in closure.keys if key.action == CASCADE and schema.relations[key.child].top == top
            ),
            schema.triggers_of(top),
        )
        for top, count in rows.items()
    ]


def changes(closure: Closure, found: Sequence[tuple[object, ...]]) -> list[Effect]:
    """The rows that only lose their reference."""
    keys = {key.oid: key for key in closure.keys}
    return [
        Effect(
            str(closure.schema.relations[key.child]),
            CHANGES[key.action],
            count,
            key.name,
            closure.schema.triggers_of(key.child, changed=key.columns),
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
        sql.SQL("coalesce(pg_column_size({}.{}), 0)").format(
            sql.Identifier(bound.rule.table), sql.Identifier(row["name"])
        )
        for row in columns
    ]
    return sql.SQL(" + ").join([sql.Literal(ROW_BYTES), *sizes])
