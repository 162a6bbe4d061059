"""Deleted rows on their way back: inserted as they were, where nothing is in their place."""

from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.undo.staging import (
    LIVE,
    NUMBER,
    REASON,
    SEEN,
    STAGED,
    Outcome,
    Staging,
    content,
    names,
    same_text,
    same_value,
)
from iacalls_cli.queries import load_query, load_template

TAKEN = "another row has this key, or this one was changed since"
REFUSED = "the table does not take it beside the rows that are there"


@dataclass
class DeletedRows(Staging):
    """The way back of deleted rows.

    Rows of a table without a primary key are told by all their values: of equal ones as many come
    back as are missing.
    """

    def act(self) -> Outcome:
        """Insert the rows that are not there, or only look which could be."""
        if not self.target.file.key:
            self.number()
            self.count_live()
        is_back = sql.SQL("NOT {}").format(self.is_missing()) if self.is_dry else sql.SQL("true")
        self.parents.note(self.target, is_back)
        self.connection.execute(sql.SQL("DELETE FROM {} AS c WHERE NOT {}").format(STAGED, self.is_missing()))
        missing = self.count(sql.SQL("true"))
        while missing and self.reject() and self.target.refers_to_itself:
            pass  # what refers to one that cannot come back cannot either
        if self.is_dry:
            self.parents.note(self.target, sql.SQL("c.{} IS NULL").format(REASON))
            conflicts = self.conflicts(sql.SQL("c.{} IS NOT NULL").format(REASON))
            return Outcome(missing - len(conflicts), conflicts)
        inserted = self.insert() if missing else 0
        conflicts = self.conflicts(self.is_missing())
        if len(conflicts) != missing - inserted:
            fired = ", ".join(self.target.fired("on_insert")) or "a default or a rule of it"
            raise DatabaseError(
                f"{fired} on {self.target.relation} changes rows as they come back",
                "disable it for the time of the undo and undo again; what is back is as it was",
            )
        return Outcome(inserted, conflicts)

    def reject(self) -> int:
        """Note why rows cannot come back; returns of how many more."""
        statement = sql.SQL(load_template("maintain/reject-rows")).format(
            staged=STAGED, reason=REASON, reasons=self.reasons()
        )
        return self.connection.execute(statement).rowcount

    def insert(self) -> int:
        """Insert the rows that nothing is known against; returns how many that were."""
        statement = sql.SQL(
            "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {staged} AS c"
            " WHERE c.{reason} IS NULL ON CONFLICT DO NOTHING"
        ).format(
            table=self.target.relation.identifier,
            columns=names(self.target.written),
            values=names(self.target.written, "c"),
            staged=STAGED,
            reason=REASON,
        )
        inserted = self.connection.execute(statement).rowcount
        if not self.target.file.key:
            self.count_live()
        return inserted

    def is_missing(self) -> sql.Composed:
        """Whether a staged row c is not in the table as it was."""
        compared = self.target.compared
        if not self.target.file.key:
            return sql.SQL(
                "NOT EXISTS (SELECT FROM {} AS l WHERE l.content OPERATOR(pg_catalog.=) {}"
                " AND l.rows OPERATOR(pg_catalog.>=) c.{})"
            ).format(LIVE, content(compared, "c"), NUMBER)
        references = [sql.SQL(" AND {}").format(one) for one in self.same_references()]
        return sql.SQL("NOT EXISTS (SELECT FROM ONLY {} AS t WHERE {} AND {} OPERATOR(pg_catalog.=) {}{})").format(
            self.target.relation.identifier,
            self.same_key(),
            content(compared, "t"),
            content(compared, "c"),
            sql.SQL("").join(references),
        )

    def same_references(self) -> list[sql.Composable]:
        """Whether the live row t has the references that the staged one c still had when it went."""
        if not self.target.is_changed_too:
            return []
        return [
            sql.SQL("(c.{0} IS NULL OR {1} OR {2})").format(
                sql.Identifier(name), same_value(sql.Identifier("c", name), sql.SQL(f"({value})")), same_text(name)
            )
            for key in self.target.changing
            for name, value in zip(key.changed, key.lost, strict=True)
        ]

    def number(self) -> None:
        """Number the staged rows among equal ones, those of earlier transactions included."""
        row = content(self.target.compared, "c")
        self.connection.execute(
            sql.SQL(load_template("maintain/number-rows")).format(staged=STAGED, number=NUMBER, row=row, seen=SEEN)
        )
        self.connection.execute(
            sql.SQL("INSERT INTO {} SELECT {row}, pg_catalog.count(*) FROM {} AS c GROUP BY 1").format(
                SEEN, STAGED, row=row
            )
        )

    def count_live(self) -> None:
        """Count the live rows that equal staged ones."""
        self.connection.execute(sql.SQL("TRUNCATE {}").format(LIVE))
        self.connection.execute(
            sql.SQL(load_template("maintain/count-live-rows")).format(
                counts=LIVE,
                live=content(self.target.compared, "t"),
                table=self.target.relation.identifier,
                row=content(self.target.compared, "c"),
                staged=STAGED,
            )
        )

    def conflicts(self, left: sql.Composable) -> list[tuple[str, str]]:
        """The keys of the rows that could not come back, or did not, and why."""
        statement = sql.SQL("SELECT {}, coalesce(c.{}, {}) FROM {} AS c WHERE {}").format(
            self.key_text(), REASON, sql.Literal(REFUSED), STAGED, left
        )
        return list(self.connection.execute(statement))

    def reasons(self) -> sql.Composable:
        """Why a row cannot come back; NULL where nothing is known against it."""
        cases: list[sql.Composable] = []
        if self.target.file.key:
            cases.append(
                sql.SQL("WHEN EXISTS (SELECT FROM ONLY {} AS t WHERE {}) THEN {}").format(
                    self.target.relation.identifier, self.same_key(), sql.Literal(TAKEN)
                )
            )
        cases += [
            sql.SQL("WHEN {} THEN {}").format(self.is_orphan(key), self.gone_reason(key)) for key in self.target.keys
        ]
        indexes = fetch(self.connection, load_query("maintain/unique-indexes"), {"oid": self.target.relation.oid})
        for index in indexes:
            told = ", ".join(index["expressions"])
            cases.append(
                sql.SQL("WHEN {} THEN {}").format(
                    self.is_taken(index["expressions"], index["operators"], index["predicate"]),
                    sql.Literal(f"another row has the same {told}"),
                )
            )
        return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases)) if cases else sql.SQL("NULL::pg_catalog.text")

    def is_taken(self, expressions: list[str], operators: list[str], predicate: str) -> sql.Composed:
        """Whether a live row has what a unique index compares of a staged row c."""
        columns = [sql.Identifier(f"k{number}") for number in range(len(expressions))]
        compared = sql.SQL(", ").join(
            sql.SQL("({}) AS {}").format(sql.SQL(text), name) for text, name in zip(expressions, columns, strict=True)
        )
        same = sql.SQL(" AND ").join(
            sql.SQL("t.{0} {1} w.{0}").format(name, sql.SQL(operator))
            for name, operator in zip(columns, operators, strict=True)
        )
        return sql.SQL(
            "EXISTS (SELECT FROM (SELECT {compared} FROM ONLY {table} WHERE {predicate}) AS t,"
            " (SELECT {compared} FROM (SELECT c.*) AS s WHERE {predicate}) AS w WHERE {same})"
        ).format(
            compared=compared,
            table=self.target.relation.identifier,
            predicate=sql.SQL(predicate),
            same=same,
        )
