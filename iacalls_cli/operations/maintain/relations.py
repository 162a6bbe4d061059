"""What hangs on a table's rows: its partitions, the foreign keys that point at it, what a delete sets off."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import IacallsError
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# PostgreSQL's letters for ON DELETE: https://www.postgresql.org/docs/current/catalog-pg-constraint.html
CASCADE, REFUSALS, CHANGES = "c", ("a", "r"), {"n": "set null", "d": "set default"}


@dataclass(frozen=True)
class Relation:
    """A table. `line` are itself and the tables it is a partition or an inheriting child of.

    `top` is the topmost of these; of tables that have several such parents, one for all they are connected with.
    `quoted` is its name as people type it in SQL. `has_tids` says that ranges of places can be read alone;
    rows that are spread over servers have no places at all.
    """

    oid: int
    schema: str
    name: str
    kind: str
    quoted: str
    has_tids: bool
    is_spread: bool
    line: tuple[int, ...]
    top: int

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)

    @property
    def identifier(self) -> sql.Identifier:
        """Its name for SQL."""
        return sql.Identifier(self.schema, self.name)

    @property
    def only(self) -> sql.Composable:
        """Its own rows; those of a partitioned table are all its partitions'."""
        return self.identifier if self.kind == "p" else sql.SQL("ONLY {}").format(self.identifier)


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key. `condition` joins the parent as p with the child as c; `columns` are the child's.

    It `is_slow` where a large child has no index for it.
    `changed` are those that lose their value with the parent's row, and `lost` what they have then, in SQL.
    """

    oid: int
    name: str
    action: str
    child: int
    parent: int
    columns: tuple[str, ...]
    changed: tuple[str, ...]
    lost: tuple[str, ...]
    parent_columns: tuple[str, ...]
    condition: str
    is_slow: bool


@dataclass(frozen=True)
class Trigger:
    """An enabled trigger of people's own; one for updates of certain `columns` names them."""

    relation: int
    name: str
    on_delete: bool
    on_update: bool
    is_always: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Schema:
    """The tables of a database by oid, their foreign keys and triggers."""

    relations: Mapping[int, Relation]
    foreign_keys: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]

    def family(self, oid: int) -> list[Relation]:
        """A table with its partitions and its children, to any depth."""
        return [one for one in self.relations.values() if oid in one.line]

    def heritage(self, relation: Relation) -> list[int]:
        """A table and what it is a partition of, whose foreign keys and triggers it has, unlike an inheriting child."""
        above = [oid for oid in relation.line if oid in self.relations and self.relations[oid].kind == "p"]
        return list(dict.fromkeys([relation.oid, *above]))

    def leaves(self, oid: int) -> list[Relation]:
        """The tables that really hold the rows of one: itself, its partitions, its children."""
        return [one for one in self.family(oid) if one.kind != "p"]

    def keys_to(self, oid: int) -> Iterator[ForeignKey]:
        """The foreign keys that point at a table, its partitions and children, or what it is part of."""
        top = self.relations[oid].top
        return (key for key in self.foreign_keys if self.relations[key.parent].top == top)

    def reachable(self, oid: int) -> tuple[ForeignKey, ...]:
        """All foreign keys that deleting rows of a table may set off, through cascades."""
        found: dict[int, ForeignKey] = {}
        waiting = [oid]
        while waiting:
            for key in self.keys_to(waiting.pop()):
                if key.oid not in found:
                    found[key.oid] = key
                    if key.action == CASCADE:
                        waiting.append(key.child)
        return tuple(found.values())

    def deletion_order(self, oid: int) -> tuple[int, ...]:
        """The topmost tables a delete takes rows from, children before parents.

        Raises `IacallsError` for foreign keys that go round in a circle through several tables.
        """
        top = self.relations[oid].top
        order: TopologicalSorter[int] = TopologicalSorter({top: ()})
        for key in self.reachable(oid):
            child, parent = self.relations[key.child].top, self.relations[key.parent].top
            if key.action == CASCADE and child != parent:
                order.add(parent, child)
        try:
            return tuple(order.static_order())
        except CycleError as error:
            names = " → ".join(str(self.relations[oid]) for oid in error.args[1])
            raise IacallsError(
                f"the foreign keys go round in a circle: {names}", "such rows cannot be cleaned up by a rule"
            ) from None

    def triggers_of(self, oid: int, *, changed: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The triggers that a delete fires on a table, or an update of the `changed` columns."""
        top = self.relations[oid].top
        return tuple(
            trigger.name
            for trigger in self.triggers
            if trigger.relation in self.relations
            and self.relations[trigger.relation].top == top
            and (
                (trigger.on_update and (not trigger.columns or set(trigger.columns) & set(changed)))
                if changed
                else trigger.on_delete
            )
        )


def read_schema(connection: Connection) -> Schema:
    """The tables, foreign keys and triggers of the database of a session."""
    is_distributed = fetch(connection, load_query("maintain/is-distributed"))[0]["is_distributed"]
    spread: set[int] = set()
    if is_distributed:
        rows = connection.execute("SELECT logicalrelid::oid::bigint FROM pg_catalog.pg_dist_partition")
        spread = {oid for (oid,) in rows}
    family = fetch(connection, load_query("maintain/family"))
    tops = find_tops({row["oid"]: row["line"] for row in family})
    relations = {
        row["oid"]: Relation(
            **{
                **row,
                "line": tuple(row["line"]),
                "top": tops[row["oid"]],
                "has_tids": row["has_tids"] and not spread.intersection(row["line"]),
                "is_spread": bool(spread.intersection(row["line"])),
            }
        )
        for row in family
    }
    keys = tuple(
        ForeignKey(**{**row, **{name: tuple(row[name]) for name in ("columns", "changed", "lost", "parent_columns")}})
        for row in fetch(connection, load_query("maintain/foreign-keys"))
        if row["child"] in relations and row["parent"] in relations
    )
    triggers = tuple(
        Trigger(**{**row, "columns": tuple(row["columns"])})
        for row in fetch(connection, load_query("maintain/triggers"))
    )
    return Schema(relations, keys, triggers)


def find_tops(lines: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """For each table the topmost one of its line, the same one for all tables that are connected.

    >>> find_tops({1: [1], 2: [2, 1], 3: [3], 4: [4, 3, 1]})
    {1: 1, 2: 1, 3: 1, 4: 1}
    """
    tops = {oid: oid for oid in lines}

    def top(oid: int) -> int:
        while tops[oid] != oid:
            oid = tops[oid]
        return oid

    for line in lines.values():
        first = min(top(oid) for oid in line if len(lines[oid]) == 1)  # has none above it
        for found in [top(oid) for oid in line]:
            tops[found] = first
    return {oid: top(oid) for oid in lines}
