"""SQL for all that a delete takes along: cascades to any depth, rows that lose a reference, rows that stay.

A row is told by its table's oid and its place in it (ctid), which stays the same while the row is
locked. Rows that would take a protected row along, or that something that stays refers to, stay.

Every statement of this package that reads or writes the tables of users runs with the application's
search_path (`iacalls_cli.database.search_path`), so operators, functions and types are named with
their schema throughout.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql

from iacalls_cli.operations.maintain.cleanup.protection import Protection
from iacalls_cli.operations.maintain.relations import CASCADE, CHANGES, REFUSALS, ForeignKey, Relation, Schema

NOTHING = sql.SQL("SELECT NULL::pg_catalog.oid, NULL::pg_catalog.tid WHERE false")


@dataclass(frozen=True)
class Cascades:
    """What hangs on the rows of the table `oid`."""

    schema: Schema
    oid: int
    keys: tuple[ForeignKey, ...]
    protections: tuple[Protection, ...]

    @cached_property
    def emptied(self) -> frozenset[int]:
        """The topmost tables that rows are deleted from."""
        cascades = (key.child for key in self.keys if key.action == CASCADE)
        return frozenset(self.schema.relations[oid].top for oid in (self.oid, *cascades))

    @property
    def looked_at(self) -> frozenset[int]:
        """The topmost tables whose rows decide what a delete does."""
        return self.emptied | {self.schema.relations[key.child].top for key in self.keys}

    @cached_property
    def is_tangled(self) -> bool:
        """Whether what refers to a row, and so keeps it, may be deleted itself on behalf of another one."""
        return any(key.action in REFUSALS and self.is_emptied(key) for key in self.keys)

    def is_emptied(self, key: ForeignKey) -> bool:
        """Whether rows of a key's own table are deleted."""
        return self.schema.relations[key.child].top in self.emptied

    def written(self) -> dict[int, Relation]:
        """The tables, partitions too, that a delete takes rows from or changes rows of."""
        children = [key.child for key in self.keys if key.action not in REFUSALS]
        return {one.oid: one for oid in (self.oid, *children) for one in self.schema.family(oid)}

    def with_roots(self, roots: sql.Composable, rounds: int, earlier: sql.Composable | None = None) -> sql.Composed:
        """A WITH clause that names `gone` (root, rel, tid), `changed` (key, root, rel, tid), `kept` (rel, tid, reason).

        `roots` is a query for the rel and tid of the rows that are old; `gone` includes them, and tells for
        each row the roots that take it along. `earlier` is one for rows that are gone before. Where
        the closure is tangled, what stays makes more stay: `rounds` times, and `is_settled` tells whether that was
        often enough.
        """
        rounds = rounds if self.is_tangled else 0
        parts = [
            *([sql.SQL("earlier(rel, tid) AS MATERIALIZED ({})").format(earlier)] if earlier else []),
            sql.SQL("roots(rel, tid) AS MATERIALIZED (SELECT rel, tid FROM ({}) AS r(rel, tid) WHERE {})").format(
                roots, still_there("r", earlier)
            ),
            sql.SQL(
                """doomed(root_rel, root, rel, tid) AS (
                    SELECT rel, tid, rel, tid FROM roots
                    UNION
                    SELECT d.root_rel, d.root, x.rel, x.tid
                      FROM doomed AS d CROSS JOIN LATERAL ({cascades}) AS x(rel, tid) WHERE {there})"""
            ).format(cascades=self.cascades(), there=still_there("x", earlier)),
            sql.SQL("blocked(root_rel, root, rel, tid, rank, reason) AS MATERIALIZED ({})").format(
                self.blocked(earlier)
            ),
            *(self.round(number) for number in range(rounds + 1)),
            sql.SQL("kept(rel, tid, reason) AS (SELECT * FROM {})").format(level(rounds)),
            sql.SQL(
                """gone(root_rel, root, rel, tid) AS MATERIALIZED (
                    SELECT d.root_rel, d.root, d.rel, d.tid FROM doomed AS d
                     WHERE NOT EXISTS (SELECT FROM kept AS k WHERE k.rel OPERATOR(pg_catalog.=) d.root_rel
                                                               AND k.tid OPERATOR(pg_catalog.=) d.root))"""
            ),
            sql.SQL("changed(key, root, rel, tid) AS ({})").format(self.changed(earlier)),
            sql.SQL(
                "settled(is_settled) AS (SELECT (SELECT pg_catalog.count(*) FROM {}) OPERATOR(pg_catalog.=)"
                " (SELECT pg_catalog.count(*) FROM {}))"
            ).format(level(rounds), level(max(0, rounds - 1))),
        ]
        return sql.SQL("WITH RECURSIVE {}").format(sql.SQL(",\n").join(parts))

    def children(self, key: ForeignKey) -> sql.Composed:
        """FROM and WHERE for the rows c that refer to a row of `d` by a foreign key."""
        return sql.SQL(
            "FROM {parent} AS p, {child} AS c"
            " WHERE p.tableoid OPERATOR(pg_catalog.=) d.rel AND p.ctid OPERATOR(pg_catalog.=) d.tid AND {join}"
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

    def blocked(self, earlier: sql.Composable | None) -> sql.Composable:
        """The roots that stay, with the reason: of a row that refers to what they take along also which it is."""
        parts = [*self.protected(), *self.referred(earlier)]
        nothing = sql.SQL(
            "SELECT NULL::pg_catalog.oid, NULL::pg_catalog.tid, NULL::pg_catalog.oid, NULL::pg_catalog.tid, 0,"
            " NULL::pg_catalog.text WHERE false"
        )
        return sql.SQL(" UNION ALL ").join(parts) if parts else nothing

    def protected(self) -> Iterator[sql.Composable]:
        """The roots that would take a protected row along."""
        for rank, protection in enumerate(self.protections):
            yield sql.SQL(
                "SELECT d.root_rel, d.root, NULL::pg_catalog.oid, NULL::pg_catalog.tid, {rank},"
                " {reason}::pg_catalog.text"
                " FROM doomed AS d JOIN {table} AS own ON own.tableoid OPERATOR(pg_catalog.=) d.rel"
                " AND own.ctid OPERATOR(pg_catalog.=) d.tid WHERE {condition}"
            ).format(
                rank=sql.Literal(rank),
                reason=sql.Literal(protection.reason),
                table=self.schema.relations[protection.oid].identifier,
                condition=protection.condition("own"),
            )

    def referred(self, earlier: sql.Composable | None) -> Iterator[sql.Composable]:
        """The roots that take a row along which another row refers to that does not go with them."""
        for key in self.keys:
            if key.action not in REFUSALS:
                continue
            reason = sql.Literal(f"still referred to by {self.schema.relations[key.child]}")
            rows = sql.SQL("SELECT c.tableoid, c.ctid {}").format(self.children(key))
            there = still_there("c", earlier)
            if not self.is_emptied(key):  # it stays, whichever it is
                yield sql.SQL(
                    "SELECT d.root_rel, d.root, NULL::pg_catalog.oid, NULL::pg_catalog.tid, 9,"
                    " {}::pg_catalog.text FROM doomed AS d"
                    " WHERE EXISTS (SELECT FROM ({}) AS c(rel, tid) WHERE {})"
                ).format(reason, rows, there)
                continue
            yield sql.SQL(
                "SELECT d.root_rel, d.root, c.rel, c.tid, 9, {}::pg_catalog.text"
                " FROM doomed AS d, LATERAL ({}) AS c(rel, tid)"
                " WHERE {} AND NOT EXISTS (SELECT FROM doomed AS o WHERE o.root_rel OPERATOR(pg_catalog.=) d.root_rel"
                " AND o.root OPERATOR(pg_catalog.=) d.root AND o.rel OPERATOR(pg_catalog.=) c.rel"
                " AND o.tid OPERATOR(pg_catalog.=) c.tid)"
            ).format(reason, rows, there)

    def round(self, number: int) -> sql.Composed:
        """The roots that stay, each with the first reason that applies, knowing those of the round before."""
        not_kept: sql.Composable = sql.SQL("true")
        if number:
            not_kept = sql.SQL(
                "NOT EXISTS (SELECT FROM {} AS k WHERE k.rel OPERATOR(pg_catalog.=) o.root_rel"
                " AND k.tid OPERATOR(pg_catalog.=) o.root)"
            ).format(level(number - 1))
        return sql.SQL(
            """{}(rel, tid, reason) AS MATERIALIZED (
                SELECT b.root_rel, b.root, (pg_catalog.array_agg(b.reason ORDER BY b.rank, b.reason))[1]
                  FROM blocked AS b
                 WHERE b.rel IS NULL
                    OR NOT EXISTS (SELECT FROM doomed AS o WHERE o.rel OPERATOR(pg_catalog.=) b.rel
                                                             AND o.tid OPERATOR(pg_catalog.=) b.tid AND {})
                 GROUP BY b.root_rel, b.root)"""
        ).format(level(number), not_kept)

    def changed(self, earlier: sql.Composable | None) -> sql.Composable:
        """The rows that only lose their reference to a row that goes."""
        changes = [
            sql.SQL(
                "SELECT {key}::pg_catalog.int8, d.root, c.rel, c.tid FROM gone AS d, "
                " LATERAL (SELECT c.tableoid, c.ctid {children}) AS c(rel, tid)"
                " WHERE {there} AND NOT EXISTS (SELECT FROM gone AS g WHERE g.rel OPERATOR(pg_catalog.=) c.rel"
                " AND g.tid OPERATOR(pg_catalog.=) c.tid)"
            ).format(key=sql.Literal(key.oid), children=self.children(key), there=still_there("c", earlier))
            for key in self.keys
            if key.action in CHANGES
        ]
        return (
            sql.SQL(" UNION ").join(changes)
            if changes
            else sql.SQL(
                "SELECT NULL::pg_catalog.int8, NULL::pg_catalog.tid, NULL::pg_catalog.oid, NULL::pg_catalog.tid"
                " WHERE false"
            )
        )


def level(number: int) -> sql.Identifier:
    """The name of what one round keeps."""
    return sql.Identifier(f"kept_{number}")


def still_there(alias: str, earlier: sql.Composable | None) -> sql.Composable:
    """Whether a row under an alias is not among those that are gone before."""
    if earlier is None:
        return sql.SQL("true")
    return sql.SQL(
        "NOT EXISTS (SELECT FROM earlier AS e WHERE e.rel OPERATOR(pg_catalog.=) {0}.rel"
        " AND e.tid OPERATOR(pg_catalog.=) {0}.tid)"
    ).format(sql.Identifier(alias))


def union(parts: Sequence[sql.Composable]) -> sql.Composable:
    """The rows of all parts, which may be none."""
    return sql.SQL(" UNION ALL ").join(parts) if parts else NOTHING
