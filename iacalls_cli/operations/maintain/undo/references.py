"""Rows that lost a reference, on their way to have it back: everything else of them stays."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.operations.maintain.relations import ForeignKey
from iacalls_cli.operations.maintain.undo.staging import PLACE, STAGED, Outcome, Staging, content, same_text, same_value
from iacalls_cli.operations.maintain.undo.targets import TOUCHED
from iacalls_cli.queries import load_template

GONE = "it is gone"
ELSEWHERE = "it refers to something else now"
REFUSED = "it does not take its reference back"


@dataclass
class References(Staging):
    """The way back of references.

    A row of a table without a primary key is found by what losing a reference leaves as it is,
    where that fits one row alone.
    """

    def act(self) -> Outcome:
        """Give the rows their lost references back, or only look which could have them.

        A row that nobody wrote to meanwhile also gets its updated_at back, with the triggers disabled in
        this transaction alone: that takes the table's owner, and keeps writers away for as long.
        """
        self.find_places()
        keys = [key for key in self.target.changing if key.oid in self.parents.keys]
        before = self.conflicts(keys)
        if not keys:
            return Outcome(conflicts=before)
        given = self.exists([self.is_given(key) for key in keys])
        is_fine = sql.SQL("{} AND ({}) IS NULL").format(given, self.reasons(keys))
        restored = self.count(is_fine)
        if self.is_dry or not self.count(given):
            return Outcome(restored, before)
        triggers = [trigger for trigger in self.target.triggers if trigger["on_update"]]
        for trigger in triggers:
            self.switch("DISABLE", trigger["name"])
        self.give(keys)
        for trigger in triggers:
            self.switch("ENABLE ALWAYS" if trigger["is_always"] else "ENABLE", trigger["name"])
        self.find_places()
        conflicts = self.conflicts(keys, is_done=True)
        return Outcome(restored - len(conflicts) + len(before), conflicts)

    def find_places(self) -> None:
        """Find the live row of each staged one that is like no other, where there is no key."""
        if self.target.file.key:
            return
        told = self.target.others
        self.connection.execute(
            sql.SQL(load_template("maintain/find-live-rows")).format(
                staged=STAGED,
                tid=PLACE,
                table=self.target.relation.identifier,
                live=content(told, "t"),
                row=content(told, "c"),
                other=content(told, "o"),
            )
        )

    def same_row(self) -> sql.Composed:
        """Whether the live row t is that of the staged row c."""
        return self.same_key() if self.target.file.key else sql.SQL("t.ctid OPERATOR(pg_catalog.=) c.{}").format(PLACE)

    def exists(self, conditions: Sequence[sql.Composable]) -> sql.Composed:
        """Whether the live row t of a staged row c fulfils one of the conditions."""
        return sql.SQL("EXISTS (SELECT FROM ONLY {} AS t WHERE {} AND ({}))").format(
            self.target.relation.identifier, self.same_row(), sql.SQL(" OR ").join(conditions)
        )

    def is_wanting(self, key: ForeignKey) -> sql.Composed:
        """Whether the row lost this reference with a row of the archive, and does not have it again."""
        differs = [sql.SQL("NOT {}").format(same_text(name)) for name in key.changed]
        return sql.SQL("({} AND ({}))").format(self.parents.has(key, back=False), sql.SQL(" OR ").join(differs))

    def is_lost(self, key: ForeignKey) -> sql.Composed:
        """Whether the row has what is left of a lost reference."""
        left = [
            same_value(sql.Identifier("t", name), sql.SQL(f"({value})"))
            for name, value in zip(key.changed, key.lost, strict=True)
        ]
        return sql.SQL("({})").format(sql.SQL(" AND ").join(left))

    def is_given(self, key: ForeignKey) -> sql.Composed:
        """Whether the row can have this reference back."""
        return sql.SQL("({} AND {} AND NOT {})").format(self.is_wanting(key), self.is_lost(key), self.is_orphan(key))

    def give(self, keys: Sequence[ForeignKey]) -> None:
        """Write the references, and updated_at where everything else is as it was."""
        values = []
        for name in dict.fromkeys(name for key in keys for name in key.changed):
            given = sql.SQL(" OR ").join(self.is_given(key) for key in keys if name in key.changed)
            values.append(sql.SQL("{0} = CASE WHEN {1} THEN c.{0} ELSE t.{0} END").format(sql.Identifier(name), given))
        if TOUCHED in self.target.written:
            others = self.target.others
            values.append(
                sql.SQL("{0} = CASE WHEN {1} OPERATOR(pg_catalog.=) {2} THEN c.{0} ELSE t.{0} END").format(
                    sql.Identifier(TOUCHED), content(others, "t"), content(others, "c")
                )
            )
        self.connection.execute(
            sql.SQL("UPDATE ONLY {table} AS t SET {values} FROM {staged} AS c WHERE {same} AND ({given})").format(
                table=self.target.relation.identifier,
                values=sql.SQL(", ").join(values),
                staged=STAGED,
                same=self.same_row(),
                given=sql.SQL(" OR ").join(map(self.is_given, keys)),
            )
        )

    def switch(self, what: str, trigger: str) -> None:
        """Disable or enable a trigger, for this transaction."""
        self.connection.execute(
            sql.SQL("ALTER TABLE {} {} TRIGGER {}").format(
                self.target.relation.only, sql.SQL(what), sql.Identifier(trigger)
            )
        )

    def reasons(self, keys: Sequence[ForeignKey], *, is_done: bool = False) -> sql.Composed:
        """Why a row cannot have its references back, or, when that is done, has not; NULL for the others."""
        cases = [sql.SQL("WHEN NOT {} THEN {}").format(self.exists([sql.SQL("true")]), sql.Literal(GONE))]
        for key in keys:
            wanting, lost, orphan = self.is_wanting(key), self.is_lost(key), self.is_orphan(key)
            told = [
                (sql.SQL("{} AND NOT {}").format(wanting, lost), sql.Literal(ELSEWHERE)),
                (sql.SQL("{} AND {}").format(wanting, orphan), self.gone_reason(key)),
            ]
            if is_done:
                told.append((wanting, sql.Literal(REFUSED)))
            cases += [sql.SQL("WHEN {} THEN {}").format(self.exists([condition]), reason) for condition, reason in told]
        return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))

    def conflicts(self, keys: Sequence[ForeignKey], *, is_done: bool = False) -> list[tuple[str, str]]:
        """The keys of the rows that cannot have their references back, or have not, and why."""
        statement = sql.SQL(
            "SELECT key, reason FROM (SELECT {} AS key, {} AS reason FROM {} AS c) AS r WHERE reason IS NOT NULL"
        ).format(self.key_text(), self.reasons(keys, is_done=is_done), STAGED)
        return list(self.connection.execute(statement))
