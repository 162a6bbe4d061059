"""What one transaction of a cleanup does with rows that others refer to."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from psycopg import sql

from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.archive.writer import OpenFile
from iacalls_cli.operations.maintain.cleanup.batch import Batch, Counts
from iacalls_cli.operations.maintain.cleanup.plan import kept_condition
from iacalls_cli.operations.maintain.cleanup.ranges import Range
from iacalls_cli.operations.maintain.relations import Relation

STEADY_TRIES = 10
# By table: the places of its rows, each with the places of the old rows that they hang on.
Tids = dict[int, dict[str, set[str]]]


@dataclass
class Dependents:
    """What a set of old rows takes along. `references` are lost, of rows that stay."""

    gone: Tids = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    changed: Tids = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    references: Counter[int] = field(default_factory=Counter)


class CascadeBatch(Batch):
    """Deletes rows with all that hangs on them: everything is locked first, archived, and goes in one statement."""

    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range with all that hangs on them, but those that may not go or are in use."""
        with application_path(self.connection):
            roots, skipped_locked = self.roots(relation, piece)
            if not roots:
                return Counts(skipped_locked=skipped_locked)
            dependents, more_in_use = self.lock(relation, roots)
        counts = Counts(changed=dependents.references, skipped_locked=skipped_locked + more_in_use)
        if not dependents.gone:
            return counts
        schema = self.plan.cascades.schema
        positions = {top: number for number, top in enumerate(schema.deletion_order(self.plan.bound.oid))}
        tables = sorted(dependents.gone, key=lambda oid: positions[schema.relations[oid].top])
        archived: list[tuple[OpenFile, int, Collection[str]]] = []
        if self.writer is not None:
            archived += [
                (self.open_file(schema.relations[oid], "deleted"), oid, dependents.gone[oid]) for oid in tables
            ]
            archived += [
                (self.open_file(schema.relations[oid], "changed"), oid, dependents.changed[oid])
                for oid in sorted(dependents.changed)
            ]
        for file, oid, places in archived:
            with self.reading_path(schema.relations[oid]):
                self.archive(schema.relations[oid], places, file)
        with application_path(self.connection):
            self.remove({oid: dependents.gone[oid] for oid in tables}, counts)
            # What waits for the commit would run with another search_path.
            self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        return counts

    def roots(self, relation: Relation, piece: Range) -> tuple[list[str], int]:
        """The places of the old rows of a range that could be locked, and how many are in use."""
        places = sql.SQL("SELECT {}.ctid::pg_catalog.text {}").format(self.alias, self.old(relation, piece))
        found = {place for (place,) in self.connection.execute(places)}
        if not found:
            return [], 0
        locked = [place for (place,) in self.connection.execute(sql.SQL("{} FOR UPDATE SKIP LOCKED").format(places))]
        return locked, len(found.difference(locked))

    def lock(self, relation: Relation, roots: Collection[str]) -> tuple[Dependents, int]:
        """All that goes with the roots, locked until nothing more comes to light, and how many are left out for that.

        A row that refers to a locked one cannot be added, so what was found twice is all there is.
        """
        chosen = set(roots)
        dependents = self.look(relation, chosen)
        for _ in range(STEADY_TRIES):
            missing = [
                (oid, place)
                for places, strength in ((dependents.gone, "FOR UPDATE"), (dependents.changed, "FOR NO KEY UPDATE"))
                for oid, found in places.items()
                for place in found.keys() - self.lock_rows(oid, found, strength)
            ]
            again = self.look(relation, chosen)
            # What could not be locked and still is where it was, somebody uses.
            stuck = [roots for oid, place in missing for roots in used_by(again, oid, place)]
            if not stuck and again == dependents:
                return dependents, len(roots) - len(chosen)
            chosen = chosen.difference(*stuck)
            dependents = self.look(relation, chosen) if stuck else again
        return Dependents(), len(roots)

    def lock_rows(self, oid: int, places: Collection[str], strength: str) -> set[str]:
        """Lock rows that nobody uses; returns their places."""
        statement = sql.SQL(
            "SELECT c.ctid::pg_catalog.text FROM ONLY {} AS c"
            " WHERE c.ctid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.tid[]) {} SKIP LOCKED"
        )
        return {
            place
            for (place,) in self.connection.execute(
                statement.format(
                    self.plan.cascades.schema.relations[oid].identifier, sql.Literal(list(places)), sql.SQL(strength)
                )
            )
        }

    def look(self, relation: Relation, roots: Collection[str]) -> Dependents:
        """All that goes with the roots now."""
        start = sql.SQL(
            "SELECT {}::pg_catalog.oid, place FROM pg_catalog.unnest({}::pg_catalog.tid[]) AS place"
        ).format(sql.Literal(relation.oid), sql.Literal(list(roots)))
        statement = sql.SQL(
            "{} SELECT 'gone', 0::pg_catalog.int8, rel::pg_catalog.int8, tid::pg_catalog.text,"
            " root::pg_catalog.text FROM gone UNION ALL SELECT 'changed', key, rel::pg_catalog.int8,"
            " tid::pg_catalog.text, root::pg_catalog.text FROM changed"
        ).format(self.plan.cascades.with_roots(start))
        dependents, references = Dependents(), set()
        for what, key, oid, place, root in self.connection.execute(statement):
            if what == "gone":
                dependents.gone[oid][place].add(root)
            else:
                dependents.changed[oid][place].add(root)
                references.add((key, oid, place))
        dependents.references.update(oid for _, oid, _ in references)
        return dependents

    def archive(self, relation: Relation, places: Collection[str], file: OpenFile) -> None:
        """Archive rows by their places."""
        statement = sql.SQL(
            "SELECT {} FROM ONLY {} AS c WHERE c.ctid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.tid[])"
        ).format(self.values(relation, sql.Identifier("c")), relation.identifier, sql.Literal(list(places)))
        if self.copy(statement, file) != len(places):
            raise DatabaseError(f"rows of {relation} changed while they were archived", "try again")

    def remove(self, gone: Mapping[int, Collection[str]], counts: Counts) -> None:
        """Delete rows by their places, in one statement: what refers to what is then no matter.

        Raises `DatabaseError` unless it was just these.
        """
        schema, own = self.plan.cascades.schema, self.plan.cascades.schema.leaves(self.plan.bound.oid)
        old = sql.SQL("coalesce({} AND NOT {}, false)").format(
            self.plan.bound.condition, kept_condition(self.plan.bound, self.plan.cascades)
        )
        deletes, results = [], []
        for oid, places in gone.items():
            name = sql.Identifier(f"deleted_{oid}")
            deletes.append(
                sql.SQL(
                    "{} AS (DELETE FROM ONLY {} AS {alias}"
                    " WHERE {alias}.ctid OPERATOR(pg_catalog.=) ANY ({}::pg_catalog.tid[]) RETURNING {})"
                ).format(
                    name,
                    schema.relations[oid].identifier,
                    sql.Literal(list(places)),
                    sql.SQL("{} AS is_old").format(old if schema.relations[oid] in own else sql.SQL("false")),
                    alias=self.alias,
                )
            )
            results.append(
                sql.SQL(
                    "SELECT {}::pg_catalog.int8, pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE is_old) FROM {}"
                ).format(sql.Literal(oid), name)
            )
        statement = sql.SQL("WITH {} {}").format(sql.SQL(", ").join(deletes), sql.SQL(" UNION ALL ").join(results))
        for oid, rows, old_rows in self.connection.execute(statement):
            if rows != len(gone[oid]):
                raise DatabaseError(
                    f"{rows} of {len(gone[oid])} rows of {schema.relations[oid]} went: a trigger interferes",
                    "nothing of this was deleted; look at `iacalls db describe` of the table",
                )
            counts.deleted[oid] += old_rows
            counts.cascaded[oid] += rows - old_rows


def used_by(dependents: Dependents, oid: int, place: str) -> list[set[str]]:
    """The old rows on which a row hangs that goes or changes; none where it is gone from its place."""
    return [places[oid][place] for places in (dependents.gone, dependents.changed) if place in places.get(oid, {})]
