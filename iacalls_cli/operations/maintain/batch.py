"""What one transaction of a cleanup does with a range of a table."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.archive import ArchivedFile
from iacalls_cli.operations.maintain.plan import RulePlan, kept_condition
from iacalls_cli.operations.maintain.ranges import Range
from iacalls_cli.operations.maintain.references import Relation
from iacalls_cli.operations.maintain.writer import ArchiveWriter, OpenFile
from iacalls_cli.queries import load_query

STEADY_TRIES = 5
# So few that even rows of a megabyte take little memory.
RECEIVED_ROWS = 250


@dataclass
class Counts:
    """Rows of one transaction. `in_use` were left, because somebody used them."""

    deleted: int = 0
    cascaded: int = 0
    changed: int = 0
    in_use: int = 0


@dataclass
class Batch(ABC):
    """Deletes for a rule, archiving to `writer` if there is one."""

    # Whether a row in use is passed by with a narrower range, not by the statement itself.
    narrows: ClassVar[bool]

    connection: Connection
    plan: RulePlan
    writer: ArchiveWriter | None
    columns: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @abstractmethod
    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range; with `skips`, those that nobody uses."""

    @property
    def alias(self) -> sql.Identifier:
        """The name the rule's condition calls a row by."""
        return sql.Identifier(self.plan.bound.rule.table)

    def old(self, relation: Relation, piece: Range) -> sql.Composed:
        """FROM and WHERE for the old rows of a range that no protection of their own keeps."""
        return sql.SQL("FROM ONLY {} AS {} WHERE {} AND {} AND NOT {}").format(
            relation.identifier,
            self.alias,
            piece.condition,
            self.plan.bound.condition,
            kept_condition(self.plan.bound, self.plan.closure),
        )

    def open_file(self, relation: Relation, action: str) -> OpenFile:
        """The archive's file for a table's rows."""
        assert self.writer is not None  # noqa: S101, asked only where there is one
        if known := self.writer.files.get((relation.oid, action)):
            self.columns[relation.oid] = known.about.columns
            return known
        rows = fetch(self.connection, load_query("maintain/columns"), {"oid": relation.oid})
        names = self.columns[relation.oid] = tuple(row["name"] for row in rows)
        key = sorted((row["key_position"], row["name"]) for row in rows if row["key_position"] >= 0)
        plain = re.sub(r"[^\w.-]", "-", f"{relation.schema}.{relation.name}", flags=re.ASCII)[:100]
        about = ArchivedFile(
            path=f"{len(self.writer.files) + 1:02}-{plain}.{action}.jsonl.zst",
            schema=relation.schema,
            table=relation.name,
            action=action,
            columns=names,
            types=tuple(row["type"] for row in rows),
            key=tuple(name for _, name in key),
            rule=self.plan.bound.rule.name,
        )
        return self.writer.file(relation.oid, about)

    def values(self, relation: Relation, alias: sql.Composable) -> sql.Composed:
        """The columns of a table as the archive has them."""
        names = map(sql.Identifier, self.columns[relation.oid])
        return sql.SQL(", ").join(sql.SQL("{}.{}").format(alias, name) for name in names)

    def copy(self, statement: sql.Composable, file: OpenFile) -> int:
        """Archive what a statement returns; returns how many rows that were."""
        assert self.writer is not None  # noqa: S101, asked only where there is one
        with (
            self.writer.part(file) as part,
            self.connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(statement)) as copy,
        ):
            received = iter(copy)
            while rows := list(islice(received, RECEIVED_ROWS)):
                part.write(rows)
        return part.rows


class SimpleBatch(Batch):
    """For rows that nothing refers to: one DELETE, whose rows go to the archive as they go."""

    narrows = False

    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range; with `skips`, those that nobody uses."""
        old = self.old(relation, piece)
        if skips:
            identity = self.identity(relation)
            old = sql.SQL(
                "FROM ONLY {table} AS {alias}"
                " WHERE {identity} = ANY (ARRAY(SELECT {identity} {old} FOR UPDATE SKIP LOCKED))"
            ).format(table=relation.identifier, alias=self.alias, identity=identity, old=old)
        statement = sql.SQL("DELETE {}").format(old)
        if self.writer is None:
            rows = self.connection.execute(statement).rowcount
        else:
            file = self.open_file(relation, "deleted")
            rows = self.copy(sql.SQL("{} RETURNING {}").format(statement, self.values(relation, self.alias)), file)
        if not skips:
            return Counts(deleted=rows)
        left = self.connection.execute(sql.SQL("SELECT count(*) {}").format(self.old(relation, piece))).fetchone()
        return Counts(deleted=rows, in_use=left[0] if left else 0)

    def identity(self, relation: Relation) -> sql.Composable:
        """What tells a row from others: its place or, where that is not stable, its key."""
        if relation.has_tids:
            return sql.SQL("{}.ctid").format(self.alias)
        columns = fetch(self.connection, load_query("maintain/columns"), {"oid": relation.oid})
        key = [sql.Identifier(row["name"]) for row in columns if row["key_position"] >= 0]
        return sql.SQL("ROW({})").format(sql.SQL(", ").join(sql.SQL("{}.{}").format(self.alias, name) for name in key))


Places = dict[int, list[str]]


@dataclass(frozen=True)
class Taken:
    """What a set of old rows takes along: places by table, and by foreign key and table."""

    gone: Places
    changed: Places
    kept: int


class ClosureBatch(Batch):
    """For rows that others refer to: all that goes with them is locked, archived, and deleted children first."""

    narrows = True

    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range with all that hangs on them, or leave those that may not go."""
        roots = self.roots(relation, piece)
        if not roots:
            return Counts()
        taken = self.lock(relation, roots)
        schema = self.plan.closure.schema
        order = {top: number for number, top in enumerate(schema.deletion_order(self.plan.bound.oid))}
        tables = sorted(taken.gone, key=lambda oid: order[schema.relations[oid].top])
        if self.writer is not None:
            for action, places in (("deleted", taken.gone), ("changed", taken.changed)):
                for oid in tables if action == "deleted" else sorted(places):
                    self.archive(schema.relations[oid], places[oid], action)
        for oid in tables:
            self.remove(schema.relations[oid], taken.gone[oid])
        deleted = len(set(taken.gone.get(relation.oid, ())) & set(roots))
        gone = sum(map(len, taken.gone.values()))
        return Counts(deleted, gone - deleted, sum(map(len, taken.changed.values())))

    def roots(self, relation: Relation, piece: Range) -> list[str]:
        """The places of the old rows of a range, locked; those in use are left out."""
        old = self.old(relation, piece)
        statement = sql.SQL("SELECT {}.ctid::text {} FOR UPDATE SKIP LOCKED").format(self.alias, old)
        return [place for (place,) in self.connection.execute(statement)]

    def lock(self, relation: Relation, roots: Sequence[str]) -> Taken:
        """All that goes with the roots, locked until nothing more comes to light.

        A row that refers to a locked one cannot be added, so what was found twice is all there is.
        Raises psycopg's LockNotAvailable where somebody uses one of them.
        """
        taken = self.look(relation, roots)
        for _ in range(STEADY_TRIES):
            for places, strength in ((taken.gone, "FOR UPDATE"), (taken.changed, "FOR NO KEY UPDATE")):
                for oid, tids in places.items():
                    self.connection.execute(
                        sql.SQL("SELECT FROM ONLY {} AS c WHERE c.ctid = ANY ({}::tid[]) {}").format(
                            self.plan.closure.schema.relations[oid].identifier, sql.Literal(tids), sql.SQL(strength)
                        )
                    )
            again = self.look(relation, roots)
            if again == taken:
                return taken
            taken = again
        raise DatabaseError("the rows to be deleted keep changing", "try again when the application is quieter")

    def look(self, relation: Relation, roots: Sequence[str]) -> Taken:
        """All that goes with the roots now."""
        start = sql.SQL("SELECT {}::oid, place FROM unnest({}::tid[]) AS place").format(
            sql.Literal(relation.oid), sql.Literal(list(roots))
        )
        statement = sql.SQL(
            "{} SELECT 'gone', rel::bigint, tid::text FROM gone UNION ALL"
            " SELECT DISTINCT 'changed', rel::bigint, tid::text FROM changed UNION ALL"
            " SELECT 'kept', NULL, NULL FROM kept ORDER BY 1, 2, 3"
        ).format(self.plan.closure.with_roots(start))
        found: dict[str, Places] = {"gone": defaultdict(list), "changed": defaultdict(list)}
        kept = 0
        for what, oid, place in self.connection.execute(statement):
            if what == "kept":
                kept += 1
            else:
                found[what][oid].append(place)
        return Taken(dict(found["gone"]), dict(found["changed"]), kept)

    def archive(self, relation: Relation, places: Sequence[str], action: str) -> None:
        """Archive rows by their places."""
        file = self.open_file(relation, action)
        alias = sql.Identifier("c")
        statement = sql.SQL("SELECT {} FROM ONLY {} AS c WHERE c.ctid = ANY ({}::tid[])").format(
            self.values(relation, alias), relation.identifier, sql.Literal(list(places))
        )
        if self.copy(statement, file) != len(places):
            raise DatabaseError(f"rows of {relation} changed while they were archived", "try again")

    def remove(self, relation: Relation, places: Sequence[str]) -> None:
        """Delete rows by their places; raises `DatabaseError` unless it was just these."""
        statement = sql.SQL("DELETE FROM ONLY {} AS c WHERE c.ctid = ANY ({}::tid[])").format(
            relation.identifier, sql.Literal(list(places))
        )
        rows = self.connection.execute(statement).rowcount
        if rows != len(places):
            raise DatabaseError(
                f"of {len(places)} rows of {relation}, {rows} could be deleted: a trigger or a rule interferes",
                "nothing of this was deleted; look at `iacalls db describe` of the table",
            )
