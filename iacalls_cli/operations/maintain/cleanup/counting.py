"""Counting what a rule would delete: rows and bytes, what goes with them, what changes, what stays and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.operations.maintain.cleanup.cascades import Cascades
from iacalls_cli.operations.maintain.cleanup.rules import BoundRule
from iacalls_cli.operations.maintain.relations import CASCADE, CHANGES
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


Counts = tuple[int, int, str | None, str | None, tuple[Effect, ...], tuple[Kept, ...]]


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
    statement = sql.SQL(
        "SELECT pg_catalog.count(*) FILTER (WHERE NOT kept),"
        " coalesce(pg_catalog.sum(size) FILTER (WHERE NOT kept), 0)::pg_catalog.int8,"
        " pg_catalog.min(age) FILTER (WHERE NOT kept)::pg_catalog.text,"
        " pg_catalog.max(age) FILTER (WHERE NOT kept)::pg_catalog.text, pg_catalog.count(*) FILTER (WHERE kept)"
        " FROM (SELECT {age} AS age, {size} AS size, {kept} AS kept FROM {table} AS {alias}"
        " WHERE {old} AND {there}) AS r"
    ).format(
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
    statement = sql.SQL(
        """{cascades}, gone_rows(rel, tid) AS MATERIALIZED (SELECT DISTINCT rel, tid FROM gone)
        SELECT 'rule', NULL::pg_catalog.int8, NULL, pg_catalog.count(*),
               coalesce(pg_catalog.sum({size}), 0)::pg_catalog.int8,
               pg_catalog.min({age})::pg_catalog.text, pg_catalog.max({age})::pg_catalog.text
          FROM {table} AS {alias}
          JOIN gone_rows AS iacalls_g ON iacalls_g.rel OPERATOR(pg_catalog.=) {alias}.tableoid
                                     AND iacalls_g.tid OPERATOR(pg_catalog.=) {alias}.ctid
          JOIN roots AS iacalls_r ON iacalls_r.rel OPERATOR(pg_catalog.=) iacalls_g.rel
                                 AND iacalls_r.tid OPERATOR(pg_catalog.=) iacalls_g.tid
        UNION ALL
        SELECT 'delete', g.rel::pg_catalog.int8, NULL, pg_catalog.count(*), NULL, NULL, NULL FROM gone_rows AS g
         WHERE NOT EXISTS (SELECT FROM roots AS r WHERE r.rel OPERATOR(pg_catalog.=) g.rel
                                                    AND r.tid OPERATOR(pg_catalog.=) g.tid) GROUP BY g.rel
        UNION ALL
        SELECT 'change', key, NULL, pg_catalog.count(DISTINCT (rel, tid)), NULL, NULL, NULL
          FROM changed GROUP BY key
        UNION ALL
        SELECT 'kept', NULL, reason, pg_catalog.count(*), NULL, NULL, NULL FROM kept GROUP BY reason"""
    ).format(
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
