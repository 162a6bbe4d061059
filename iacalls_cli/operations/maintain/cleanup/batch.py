"""What one transaction of a cleanup does with a range of a table that nothing refers to."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.database.sqlstates import UNDEFINED
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.archive.format import ArchivedFile
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter, OpenFile
from iacalls_cli.operations.maintain.cleanup.plan import RulePlan, kept_condition
from iacalls_cli.operations.maintain.cleanup.ranges import Range, primary_key
from iacalls_cli.operations.maintain.relations import Relation
from iacalls_cli.queries import load_query

# So few that even rows of a megabyte take little memory.
RECEIVED_ROWS = 250


@dataclass
class Counts:
    """What one transaction did: rows by the oid of their table, `changed` is references.

    Rows that another session locks were left: `skipped_locked`.
    """

    deleted: Counter[int] = field(default_factory=Counter)
    cascaded: Counter[int] = field(default_factory=Counter)
    changed: Counter[int] = field(default_factory=Counter)
    skipped_locked: int = 0


@dataclass
class Batch(ABC):
    """Deletes for a rule, archiving to `writer` if there is one."""

    connection: Connection
    plan: RulePlan
    writer: ArchiveWriter | None
    columns: dict[int, tuple[str, ...]] = field(default_factory=dict)
    is_plain: dict[int, bool] = field(default_factory=dict)

    @abstractmethod
    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range; with `skips`, those that nobody uses."""

    @property
    def alias(self) -> sql.Identifier:
        """The name the rule's condition calls a row by."""
        return sql.Identifier(self.plan.bound.rule.table)

    def old(self, relation: Relation, piece: Range, *, is_plain: bool = False) -> sql.Composed:
        """FROM and WHERE for the old rows of a range that no protection of their own keeps.

        `is_plain` is for our own search_path instead of the application's.
        """
        return sql.SQL("FROM ONLY {} AS {} WHERE {} AND {} AND NOT {}").format(
            relation.identifier,
            self.alias,
            piece.condition,
            self.plan.bound.plain_condition if is_plain else self.plan.bound.condition,
            kept_condition(self.plan.bound, self.plan.cascades),
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

    def reading_path(self, relation: Relation) -> AbstractContextManager[None]:
        """The search_path with which rows are archived: our own, in which names are written with their schema.

        Of a table with an index function that needs the application's, that one.
        """
        return nullcontext() if self.needs_no_path(relation) else application_path(self.connection)

    def needs_no_path(self, relation: Relation) -> bool:
        """Whether queries of a table can be planned with our own search_path."""
        if relation.oid not in self.is_plain:
            self.is_plain[relation.oid] = can_plan(self.connection, relation)
        return self.is_plain[relation.oid]

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


def can_plan(connection: Connection, relation: Relation) -> bool:
    """Whether the server can plan a query of a table with our own search_path."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("EXPLAIN SELECT FROM ONLY {}").format(relation.identifier))
    except DatabaseError as error:
        if error.sqlstate not in UNDEFINED:
            raise
        return False
    return True


class SimpleBatch(Batch):
    """For rows that nothing refers to: one DELETE, whose rows go to the archive as they go."""

    def delete(self, relation: Relation, piece: Range, *, skips: bool) -> Counts:
        """Delete the old rows of a range; with `skips`, those that nobody uses."""
        old = left_over = self.old(relation, piece, is_plain=self.needs_no_path(relation))
        if skips:
            identity = self.identity(relation)
            old = sql.SQL(
                "FROM ONLY {table} AS {alias}"
                " WHERE {piece} AND {identity} OPERATOR(pg_catalog.=)"
                " ANY (ARRAY(SELECT {identity} {old} FOR UPDATE SKIP LOCKED))"
            ).format(table=relation.identifier, alias=self.alias, piece=piece.condition, identity=identity, old=old)
        statement, left = sql.SQL("DELETE {}").format(old), None
        file = None if self.writer is None else self.open_file(relation, "deleted")
        # No trigger fires; only the functions of indexes may need the other path.
        with self.reading_path(relation):
            if file is None:
                rows = self.connection.execute(statement).rowcount
            else:
                rows = self.copy(sql.SQL("{} RETURNING {}").format(statement, self.values(relation, self.alias)), file)
            if skips:
                count = sql.SQL("SELECT pg_catalog.count(*) {}").format(left_over)
                left = self.connection.execute(count).fetchone()
        return Counts(Counter({relation.oid: rows}), skipped_locked=left[0] if left else 0)

    def identity(self, relation: Relation) -> sql.Composable:
        """What tells a row from others: its place or, where that is not stable, its key."""
        if relation.has_tids:
            return sql.SQL("{}.ctid").format(self.alias)
        key = [sql.Identifier(column.name) for column in primary_key(self.connection, relation)]
        return sql.SQL("ROW({})").format(sql.SQL(", ").join(sql.SQL("{}.{}").format(self.alias, name) for name in key))
