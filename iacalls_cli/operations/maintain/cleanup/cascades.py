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

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.cleanup.protection import Protection
from iacalls_cli.operations.maintain.relations import CASCADE, CHANGES, REFUSALS, ForeignKey, Relation, Schema
from iacalls_cli.queries import load_template

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

    def require_order(self) -> None:
        """Raise `IacallsError` where deleting rows one after the other has no fixed result.

        That is: for foreign keys that are cyclic, and for rows that keep rows of the same rule, as which of them
        can be deleted depends on what happens to the others.
        """
        self.schema.deletion_order(self.oid)
        for key in self.keys:
            if key.action in REFUSALS and self.schema.relations[key.child].top in self.emptied:
                child, parent = self.schema.relations[key.child], self.schema.relations[key.parent]
                raise IacallsError(
                    f"the rule deletes rows of {child} and rows of {parent}, "
                    f"which the foreign key {key.name} keeps while rows of {child} refer to them",
                    "such rows cannot be cleaned up by a rule, unless the foreign key is ON DELETE CASCADE or SET NULL",
                )

    def written(self) -> dict[int, Relation]:
        """The tables, partitions too, that a delete takes rows from or changes rows of."""
        children = [key.child for key in self.keys if key.action not in REFUSALS]
        return {one.oid: one for oid in (self.oid, *children) for one in self.schema.family(oid)}

    def with_roots(self, roots: sql.Composable, earlier: sql.Composable | None = None) -> sql.Composed:
        """A WITH clause that names `gone` (root, rel, tid), `changed` (key, root, rel, tid), `kept` (rel, tid, reason).

        `roots` is a query for the rel and tid of the rows that are old; `gone` includes them, and tells for
        each row the roots that take it along. `earlier` is one for rows that are gone before.
        """
        before = sql.SQL("earlier(rel, tid) AS MATERIALIZED ({}),\n").format(earlier) if earlier else sql.SQL("")
        return sql.SQL(load_template("maintain/cascades")).format(
            earlier=before,
            roots=roots,
            root_there=still_there("r", earlier),
            dependents=self.cascades(),
            dependent_there=still_there("x", earlier),
            blocked=self.blocked(earlier),
            changed=self.changed(earlier),
        )

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
        """The roots that stay, with the reasons and their ranks."""
        parts = [*self.protected(), *self.referred(earlier)]
        nothing = sql.SQL("SELECT NULL::pg_catalog.oid, NULL::pg_catalog.tid, 0, NULL::pg_catalog.text WHERE false")
        return sql.SQL(" UNION ALL ").join(parts) if parts else nothing

    def protected(self) -> Iterator[sql.Composable]:
        """The roots that would take a protected row along."""
        for rank, protection in enumerate(self.protections):
            yield sql.SQL(
                "SELECT d.root_rel, d.root, {rank}, {reason}::pg_catalog.text"
                " FROM doomed AS d JOIN {table} AS own ON own.tableoid OPERATOR(pg_catalog.=) d.rel"
                " AND own.ctid OPERATOR(pg_catalog.=) d.tid WHERE {condition}"
            ).format(
                rank=sql.Literal(rank),
                reason=sql.Literal(protection.reason),
                table=self.schema.relations[protection.oid].identifier,
                condition=protection.condition("own"),
            )

    def referred(self, earlier: sql.Composable | None) -> Iterator[sql.Composable]:
        """The roots that take a row along which another row refers to; `require_order`: that one always stays."""
        for key in self.keys:
            if key.action in REFUSALS:
                yield sql.SQL(
                    "SELECT d.root_rel, d.root, 9, {}::pg_catalog.text FROM doomed AS d"
                    " WHERE EXISTS (SELECT FROM (SELECT c.tableoid, c.ctid {}) AS c(rel, tid) WHERE {})"
                ).format(
                    sql.Literal(f"still referred to by {self.schema.relations[key.child]}"),
                    self.children(key),
                    still_there("c", earlier),
                )

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
