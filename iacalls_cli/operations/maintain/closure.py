"""SQL for all that a delete takes along: cascades to any depth, rows that lose a reference, rows that stay.

A row is told by its table's oid and its place in it (ctid), which stays the same while the row is
locked. Rows that would take a protected row along, or that something refers to without a cascade, stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.operations.maintain.protection import Protection
from iacalls_cli.operations.maintain.references import CASCADE, CHANGES, REFUSALS, ForeignKey, Schema

NOTHING = sql.SQL("SELECT NULL::oid, NULL::tid WHERE false")


@dataclass(frozen=True)
class Closure:
    """What hangs on the rows of a table."""

    schema: Schema
    keys: tuple[ForeignKey, ...]
    protections: tuple[Protection, ...]

    def written(self, oid: int) -> set[int]:
        """The tables that a delete from a table writes to."""
        return {oid, *(leaf.oid for leaf in self.schema.leaves(oid)), *(key.child for key in self.keys)}

    def with_roots(self, roots: sql.Composable) -> sql.Composed:
        """A WITH clause that names `gone` (rel, tid), `changed` (key, rel, tid) and `kept` (rel, tid, reason).

        `roots` is a query for the rel and tid of the rows that are old. `gone` includes them.
        """
        return sql.SQL(
            """WITH RECURSIVE roots(rel, tid) AS MATERIALIZED ({roots}),
            doomed(root_rel, root, rel, tid) AS (
                SELECT rel, tid, rel, tid FROM roots
                UNION
                SELECT d.root_rel, d.root, x.rel, x.tid
                  FROM doomed AS d CROSS JOIN LATERAL ({cascades}) AS x(rel, tid)),
            kept(rel, tid, reason) AS MATERIALIZED ({kept}),
            gone(rel, tid) AS MATERIALIZED (
                SELECT DISTINCT d.rel, d.tid FROM doomed AS d
                 WHERE NOT EXISTS (SELECT FROM kept AS k WHERE k.rel = d.root_rel AND k.tid = d.root)),
            changed(key, rel, tid) AS ({changed})"""
        ).format(roots=roots, cascades=self.cascades(), kept=self.kept(), changed=self.changed())

    def children(self, key: ForeignKey) -> sql.Composed:
        """FROM and WHERE for the rows c that refer to a row of `d` by a foreign key."""
        return sql.SQL(
            "FROM {parent} AS p, {child} AS c WHERE p.tableoid = d.rel AND p.ctid = d.tid AND {join}"
        ).format(
            parent=self.schema.relations[key.parent].only,
            child=self.schema.relations[key.child].only,
            join=sql.SQL(key.condition),
        )

    def cascades(self) -> sql.Composable:
        """The rows that go with a row of `d`."""
        return union(
            [
                sql.SQL("SELECT c.tableoid, c.ctid {}").format(self.children(key))
                for key in self.keys
                if key.action == CASCADE
            ]
        )

    def kept(self) -> sql.Composable:
        """The roots that stay, each with the first reason that applies."""
        reasons = [
            sql.SQL(
                "SELECT d.root_rel, d.root, {reason}::text, {rank} FROM doomed AS d JOIN {table} AS own"
                " ON own.tableoid = d.rel AND own.ctid = d.tid WHERE {condition}"
            ).format(
                reason=sql.Literal(protection.reason),
                rank=sql.Literal(rank),
                table=self.schema.relations[protection.oid].identifier,
                condition=protection.condition("own"),
            )
            for rank, protection in enumerate(self.protections)
        ] + [
            sql.SQL(
                "SELECT d.root_rel, d.root, {reason}::text, 9 FROM doomed AS d WHERE EXISTS (SELECT {children}"
                " AND NOT EXISTS (SELECT FROM doomed AS o WHERE o.root_rel = d.root_rel AND o.root = d.root"
                " AND o.rel = c.tableoid AND o.tid = c.ctid))"
            ).format(
                reason=sql.Literal(f"still referred to by {self.schema.relations[key.child]}"),
                children=self.children(key),
            )
            for key in self.keys
            if key.action in REFUSALS
        ]
        if not reasons:
            return sql.SQL("SELECT NULL::oid, NULL::tid, NULL::text WHERE false")
        return sql.SQL(
            "SELECT rel, tid, (array_agg(reason ORDER BY rank, reason))[1]"
            " FROM ({}) AS r(rel, tid, reason, rank) GROUP BY rel, tid"
        ).format(sql.SQL(" UNION ALL ").join(reasons))

    def changed(self) -> sql.Composable:
        """The rows that only lose their reference to a row that goes."""
        changes = [
            sql.SQL(
                "SELECT {key}::bigint, c.rel, c.tid FROM gone AS d, "
                " LATERAL (SELECT c.tableoid, c.ctid {children}) AS c(rel, tid)"
                " WHERE NOT EXISTS (SELECT FROM gone AS g WHERE g.rel = c.rel AND g.tid = c.tid)"
            ).format(key=sql.Literal(key.oid), children=self.children(key))
            for key in self.keys
            if key.action in CHANGES
        ]
        return (
            sql.SQL(" UNION ").join(changes)
            if changes
            else sql.SQL("SELECT NULL::bigint, NULL::oid, NULL::tid WHERE false")
        )


def union(parts: Sequence[sql.Composable]) -> sql.Composable:
    """The rows of all parts, which may be none."""
    return sql.SQL(" UNION ALL ").join(parts) if parts else NOTHING
