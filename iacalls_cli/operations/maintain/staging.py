"""A table of this session alone, in which archived rows meet the live ones before they are written."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.archive import ArchivedFile
from iacalls_cli.operations.maintain.locks import try_for_lock
from iacalls_cli.operations.maintain.references import CHANGES, ForeignKey, Relation, Schema
from iacalls_cli.queries import load_query

STAGED = sql.Identifier("pg_temp", "iacalls_rows")
# The column that a trigger of the schema sets at every update.
TOUCHED = "updated_at"
TAKEN, GONE = "another row has this key", "it is gone"
Outcome = tuple[int, int, list[tuple[str, str]]]


@dataclass
class Staging:
    """The way of one file's rows back into their table.

    `lost_first` says that deleted rows may have lost references before, which another file of the archive knows.
    """

    connection: Connection
    relation: Relation
    file: ArchivedFile
    schema: Schema
    written: tuple[str, ...]
    key: tuple[str, ...]
    lost_first: bool

    @classmethod
    @contextmanager
    def open(
        cls, connection: Connection, relation: Relation, file: ArchivedFile, schema: Schema, *, lost_first: bool
    ) -> "Iterator[Staging]":
        """A staging table for a file; raises `IacallsError` where the live table lacks a column of it."""
        live = {row["name"]: row for row in fetch(connection, load_query("maintain/columns"), {"oid": relation.oid})}
        missing = [name for name in file.columns if name not in live]
        if missing:
            raise IacallsError(
                f"{relation} has no column {missing[0]} any more, and the archived rows have one",
                "add it, then the rows can come back",
            )
        written = tuple(name for name in file.columns if not live[name]["is_generated"])
        staging = cls(connection, relation, file, schema, written, file.key or written, lost_first)
        with database_errors():
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(STAGED))
            connection.execute(
                sql.SQL("CREATE TEMPORARY TABLE iacalls_rows AS SELECT {} FROM {} WITH NO DATA").format(
                    names(file.columns), relation.identifier
                )
            )
        yield staging
        with database_errors():
            connection.execute(sql.SQL("DROP TABLE {}").format(STAGED))

    def put_back(self, rows: Sequence[bytes], act: Callable[[], Outcome]) -> Outcome:
        """One transaction that acts on rows: how many were put back, how many are there, and the conflicts."""
        outcome: Outcome = (0, 0, [])

        def transact() -> None:
            nonlocal outcome
            with self.connection.transaction():
                # What a deferred constraint still has to check forbids to switch triggers, and would fail too late.
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                self.connection.execute(sql.SQL("TRUNCATE {}").format(STAGED))
                copy = sql.SQL("COPY {} ({}) FROM STDIN").format(STAGED, names(self.file.columns))
                with self.connection.cursor().copy(copy) as target:
                    target.write(b"".join(rows))
                outcome = act()

        try_for_lock(transact)
        return outcome

    def look(self) -> Outcome:
        """What can be told without writing: which rows are there, and which have another one in their place."""
        is_taken = sql.SQL("EXISTS (SELECT FROM ONLY {} AS t WHERE {})").format(
            self.relation.identifier, self.same_key()
        )
        if self.file.action == "changed":  # those rows are there, only without their reference
            is_taken = sql.SQL("NOT {}").format(is_taken)
        statement = sql.SQL(
            "SELECT concat_ws(', ', {key}), {reason} FROM {staged} AS c WHERE {taken} AND NOT {there}"
        ).format(
            key=names(self.file.key or self.file.columns[:1], "c"),
            reason=sql.Literal(TAKEN if self.file.action == "deleted" else GONE),
            staged=STAGED,
            taken=is_taken,
            there=self.is_there(),
        )
        conflicts = list(self.connection.execute(statement))
        present = self.count_same()
        return self.count() - present - len(conflicts), present, conflicts

    def count(self) -> int:
        """The staged rows."""
        row = self.connection.execute(sql.SQL("SELECT count(*) FROM {}").format(STAGED)).fetchone()
        return row[0] if row else 0

    def restore(self) -> Outcome:
        """Insert the rows that are not there, where nothing is in their place."""
        present = self.count_same()
        try:
            with self.connection.transaction():
                inserted = self.insert(together=True)
        except psycopg.errors.ForeignKeyViolation:  # by rows that refer to one of these that cannot come back
            inserted = 0
            while more := self.insert(together=False):
                inserted += more
        conflicts = self.conflicts()
        if len(conflicts) != self.count() - present - inserted:
            raise DatabaseError(
                f"a trigger changes rows of {self.relation} as they come back",
                "disable it for the time of the undo; nothing of this was put back",
            )
        return inserted, present, conflicts

    def insert(self, *, together: bool) -> int:
        """Insert what is not there and refers to nothing that is gone, or else comes `together` with it."""
        parents = [sql.SQL("AND NOT {}").format(self.is_orphan(key, together=together)) for key in self.outgoing()]
        return self.connection.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {staged} AS c"
                " WHERE NOT {same} {parents} ON CONFLICT DO NOTHING"
            ).format(
                table=self.relation.identifier,
                columns=names(self.written),
                values=names(self.written, "c"),
                staged=STAGED,
                same=self.is_there(),
                parents=sql.SQL(" ").join(parents),
            )
        ).rowcount

    def count_same(self) -> int:
        """How many of the rows are in the table as they were."""
        statement = sql.SQL("SELECT count(*) FROM {} AS c WHERE {}").format(STAGED, self.is_there())
        row = self.connection.execute(statement).fetchone()
        return row[0] if row else 0

    def is_there(self) -> sql.Composed:
        """Whether a staged row c is in the table, every value as it was, with or without references it lost first."""
        columns: Sequence[str] = self.file.columns
        references: list[sql.Composable] = []
        if self.lost_first:
            columns, references = self.lasting(), self.same_references()
        return sql.SQL(
            "EXISTS (SELECT FROM ONLY {table} AS t WHERE {key} AND ROW({live})::text = ROW({staged})::text{more})"
        ).format(
            table=self.relation.identifier,
            key=self.same_key(),
            live=names(columns, "t"),
            staged=names(columns, "c"),
            more=sql.SQL("").join([sql.SQL(" AND {}").format(one) for one in references]),
        )

    def same_key(self) -> sql.Composed:
        """Whether the live row t and the staged one c have the same key."""
        if not self.file.key:  # rows that lost a reference differ in that
            told = self.key if self.file.action == "deleted" else self.lasting()
            return sql.SQL("ROW({})::text = ROW({})::text").format(names(told, "t"), names(told, "c"))
        parts = [sql.SQL("t.{0} = c.{0}").format(sql.Identifier(name)) for name in self.key]
        return sql.SQL("{}").format(sql.SQL(" AND ").join(parts))

    def outgoing(self) -> list[ForeignKey]:
        """The foreign keys of the table: its own and, unlike an inheriting child, a partition's also those above."""
        return [key for key in self.schema.foreign_keys if key.child in self.schema.heritage(self.relation)]

    def is_orphan(self, key: ForeignKey, *, together: bool) -> sql.Composed:
        """Whether what a staged row c refers to is gone: not in its table, nor, `together`, among the staged rows.

        A row may always refer to itself.
        """
        parent = self.schema.relations[key.parent]
        filled = [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in key.columns]
        own: sql.Composable = sql.SQL("")
        if parent.top == self.relation.top:
            own = sql.SQL("AND NOT EXISTS (SELECT FROM {} AS p WHERE {} AND {})").format(
                STAGED, sql.SQL(key.condition), sql.SQL("true" if together else "p.ctid = c.ctid")
            )
        return sql.SQL("({filled} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {condition}) {own})").format(
            filled=sql.SQL(" AND ").join(filled),
            parent=parent.only,
            condition=sql.SQL(key.condition),
            own=own,
        )

    def conflicts(self) -> list[tuple[str, str]]:
        """The keys of the rows that are not in the table as they were, and why."""
        reasons: list[sql.Composable] = [
            sql.SQL("WHEN EXISTS (SELECT FROM ONLY {} AS t WHERE {}) THEN {}").format(
                self.relation.identifier, self.same_key(), sql.Literal(TAKEN)
            )
        ]
        reasons += [
            sql.SQL("WHEN {} THEN {}").format(
                self.is_orphan(key, together=False),
                sql.Literal(f"its row of {self.schema.relations[key.parent]} is gone"),
            )
            for key in self.outgoing()
        ]
        statement = sql.SQL(
            "SELECT concat_ws(', ', {key}), CASE {reasons} ELSE 'a value that must be unique is taken' END"
            " FROM {staged} AS c WHERE NOT {there}"
        ).format(
            key=names(self.file.key or self.file.columns[:1], "c"),
            reasons=sql.SQL(" ").join(reasons),
            staged=STAGED,
            there=self.is_there(),
        )
        return list(self.connection.execute(statement))

    def changing(self) -> list[ForeignKey]:
        """The foreign keys whose columns change when what they refer to goes."""
        return [key for key in self.outgoing() if key.action in CHANGES]

    def lasting(self) -> list[str]:
        """The columns that losing a reference leaves as they are."""
        lost = {name for key in self.changing() for name in key.changed} | {TOUCHED}
        return [name for name in self.file.columns if name not in lost]

    def same_references(self) -> list[sql.Composable]:
        """Whether the live row t has all references that the staged one c has."""
        return [
            sql.SQL("(c.{0} IS NULL OR c.{0} = ({1}) OR t.{0}::text = c.{0}::text)").format(
                sql.Identifier(name), sql.SQL(value)
            )
            for key in self.changing()
            for name, value in zip(key.changed, key.lost, strict=True)
        ]


def names(columns: Sequence[str], alias: str = "") -> sql.Composed:
    """Columns, of an alias if one is given, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)
