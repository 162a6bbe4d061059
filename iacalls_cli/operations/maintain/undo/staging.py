"""Tables of this session alone, in which archived rows meet the live ones before they are written."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.locks import retry
from iacalls_cli.operations.maintain.relations import ForeignKey, Schema
from iacalls_cli.operations.maintain.undo.targets import UndoTarget

STAGED = sql.Identifier("pg_temp", "iacalls_rows")
SEEN, LIVE = sql.Identifier("pg_temp", "iacalls_seen"), sql.Identifier("pg_temp", "iacalls_live")
# Which of equal rows of a table without a key this is, the place of its live row, and why it cannot come back.
NUMBER, PLACE, REASON = map(sql.Identifier, ("iacalls number", "iacalls place", "iacalls reason"))
IS_BACK = sql.Identifier("iacalls is back")


@dataclass
class Outcome:
    """What became of staged rows: how many were put back, and the keys of those that cannot be, with the reason."""

    restored: int = 0
    conflicts: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Parents:
    """The archived rows that other archived rows refer to: the columns of the foreign key, and whether they are back.

    For a dry run, where the rows of one table are not there yet when those of the next are looked at.
    """

    connection: Connection
    schema: Schema
    keys: dict[int, sql.Identifier] = field(default_factory=dict)

    @classmethod
    def open(cls, connection: Connection, schema: Schema, targets: Sequence[UndoTarget]) -> "Parents":
        """Empty tables, one for each foreign key between tables of the archive."""
        parents = cls(connection, schema)
        children = {target.relation.top for target in targets}
        emptied = {one.relation.top for one in targets if one.file.action == "deleted"}
        for number, key in enumerate(schema.foreign_keys):
            parent = schema.relations[key.parent]
            if schema.relations[key.child].top in children and parent.top in emptied:
                parents.keys[key.oid] = sql.Identifier("pg_temp", f"iacalls_parents_{number}")
                columns = sql.SQL("{}, true AS {} FROM {}").format(
                    names(key.parent_columns), IS_BACK, parent.identifier
                )
                make_table(connection, f"iacalls_parents_{number}", columns)
        return parents

    def note(self, target: UndoTarget, is_back: sql.Composable) -> None:
        """Note the staged rows c of a table, which are back where the condition is true."""
        for key in self.schema.foreign_keys:
            if (
                key.oid in self.keys
                and self.schema.relations[key.parent].top == target.relation.top
                and set(key.parent_columns) <= set(target.file.columns)
            ):
                self.connection.execute(
                    sql.SQL("INSERT INTO {} SELECT {}, {} FROM {} AS c").format(
                        self.keys[key.oid], names(key.parent_columns, "c"), is_back, STAGED
                    )
                )

    def has(self, key: ForeignKey, *, back: bool) -> sql.Composed:
        """Whether a row c refers to one of these rows, or with `back` to one that is back."""
        if key.oid not in self.keys:
            return sql.Composed([sql.SQL("false")])
        return sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {} AND (p.{} OR NOT {}))").format(
            self.keys[key.oid], sql.SQL(key.condition), IS_BACK, sql.Literal(back)
        )


@dataclass
class Staging(ABC):
    """The way of one file's rows back into their table; with `is_dry` nothing is written there."""

    connection: Connection
    target: UndoTarget
    schema: Schema
    parents: Parents
    is_dry: bool

    @abstractmethod
    def act(self) -> Outcome:
        """Put the staged rows back."""

    def open(self) -> None:
        """Empty staging tables, for one more time through the file."""
        columns = sql.SQL(
            "{}, NULL::pg_catalog.int8 AS {}, NULL::pg_catalog.tid AS {}, NULL::pg_catalog.text AS {} FROM {}"
        ).format(names(self.target.file.columns), NUMBER, PLACE, REASON, self.target.relation.identifier)
        make_table(self.connection, "iacalls_rows", columns)
        for name in ("iacalls_seen", "iacalls_live"):
            make_table(
                self.connection, name, sql.SQL("NULL::pg_catalog.text AS content, NULL::pg_catalog.int8 AS rows")
            )

    def put_back(self, rows: Sequence[bytes]) -> Outcome:
        """One transaction with rows in COPY's text format."""

        def transact() -> Outcome:
            with self.connection.transaction():
                # What waits for the commit keeps triggers from being enabled again.
                self.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                # A few thousand rows are looked up in large tables, by their keys.
                self.connection.execute("SET LOCAL random_page_cost = 1")
                self.connection.execute(sql.SQL("TRUNCATE {}").format(STAGED))
                copy = sql.SQL("COPY {} ({}) FROM STDIN").format(STAGED, names(self.target.file.columns))
                # Domains may have CHECK constraints with functions of the application.
                with application_path(self.connection), self.connection.cursor().copy(copy) as target:
                    target.write(b"".join(rows))
                if self.target.is_retyped:
                    self.require_same_text(b"".join(rows))
                with application_path(self.connection):
                    return self.act()

        return retry(transact)

    def require_same_text(self, rows: bytes) -> None:
        """Raise `DatabaseError` unless columns that have other types now still write the values as before."""
        columns = names(self.target.file.columns)
        with self.connection.cursor().copy(sql.SQL("COPY {} ({}) TO STDOUT").format(STAGED, columns)) as copy:
            if b"".join(bytes(row) for row in copy) == rows:
                return
        raise DatabaseError(
            f"a column of {self.target.relation} has another type now, which changes the archived values",
            "nothing of this was put back; give it its old type, or put the rows back by hand",
        )

    def count(self, condition: sql.Composable) -> int:
        """How many staged rows c fulfil a condition."""
        statement = sql.SQL("SELECT pg_catalog.count(*) FROM {} AS c WHERE {}").format(STAGED, condition)
        row = self.connection.execute(statement).fetchone()
        return row[0] if row else 0

    def same_key(self) -> sql.Composed:
        """Whether the live row t and the staged one c have the same primary key."""
        parts = [
            sql.SQL("t.{0} {1} c.{0}").format(sql.Identifier(name), sql.SQL(self.target.equality[name]))
            for name in self.target.file.key
        ]
        return sql.SQL("({})").format(sql.SQL(" AND ").join(parts))

    def key_text(self) -> sql.Composed:
        """A staged row's key for people; of a row without one its first values."""
        key = self.target.file.key or self.target.file.columns[:3]
        return sql.SQL("pg_catalog.concat_ws(', ', {})").format(names(key, "c"))

    def is_orphan(self, key: ForeignKey) -> sql.Composed:
        """Whether what a staged row c refers to is gone, and does not come with it."""
        parent = self.schema.relations[key.parent]
        ways = [sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {})").format(parent.only, sql.SQL(key.condition))]
        if self.is_dry:
            ways.append(self.parents.has(key, back=True))
        if parent.top == self.target.relation.top:
            own = sql.SQL("EXISTS (SELECT FROM {} AS p WHERE {} AND p.{} IS NULL)")
            ways.append(own.format(STAGED, sql.SQL(key.condition), REASON))
        return sql.SQL("({} AND NOT ({}))").format(is_filled(key), sql.SQL(" OR ").join(ways))

    def gone_reason(self, key: ForeignKey) -> sql.Literal:
        """What is told of a row whose parent is gone."""
        return sql.Literal(f"its row of {self.schema.relations[key.parent]} is gone")


def make_table(connection: Connection, name: str, columns: sql.Composable) -> None:
    """An empty temporary table; `columns` is all between SELECT and the end."""
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("pg_temp", name)))
    statement = sql.SQL("CREATE TEMPORARY TABLE {} AS SELECT {} WITH NO DATA")
    connection.execute(statement.format(sql.Identifier(name), columns))


def is_filled(key: ForeignKey) -> sql.Composed:
    """Whether a staged row c refers to something by a foreign key."""
    return sql.SQL(" AND ").join([sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in key.columns])


def content(columns: Sequence[str], alias: str) -> sql.Composed:
    """The values of a row as one text."""
    return sql.SQL("ROW({})::pg_catalog.text").format(names(columns, alias))


def same_text(name: str) -> sql.Composed:
    """Whether a column is the same in the live row t and the staged one c, as text; NULL equals NULL."""
    return sql.SQL("pg_catalog.record_eq(ROW(t.{0}::pg_catalog.text), ROW(c.{0}::pg_catalog.text))").format(
        sql.Identifier(name)
    )


def same_value(one: sql.Composable, other: sql.Composable) -> sql.Composed:
    """Whether two values are equal; NULL equals NULL.

    `record_eq` compares by the type's own operator, which no search_path can exchange; the CASE gives both one type.
    """
    return sql.SQL(
        "pg_catalog.record_eq(ROW(CASE WHEN true THEN {0} ELSE {1} END), ROW(CASE WHEN true THEN {1} ELSE {0} END))"
    ).format(one, other)


def names(columns: Sequence[str], alias: str = "") -> sql.Composed:
    """Columns, of an alias if one is given, separated by commas."""
    return sql.SQL(", ").join(sql.Identifier(alias, name) if alias else sql.Identifier(name) for name in columns)
