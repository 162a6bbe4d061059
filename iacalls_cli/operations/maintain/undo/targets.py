"""The live tables that an archive's rows come from, and whether they can come back there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.archive.format import ArchivedFile, ArchiveManifest, Part
from iacalls_cli.operations.maintain.cleanup.privileges import OWNERS_ROLE, row_security_hint
from iacalls_cli.operations.maintain.cleanup.safeguards import require_keys, require_updates
from iacalls_cli.operations.maintain.relations import CHANGES, ForeignKey, Relation, Schema
from iacalls_cli.queries import load_query

# The column that a trigger of the schema sets at every update.
TOUCHED = "updated_at"


@dataclass(frozen=True)
class UndoTarget:
    """A file of an archive and its live table.

    `written` are its columns without generated ones; `others` those that losing a reference leaves as they are;
    `is_retyped` says that a column has another type now; `equality` has the operator of each column.
    `keys` are its foreign keys, `triggers` its own ones.
    """

    file: ArchivedFile
    parts: tuple[Part, ...]
    relation: Relation
    written: tuple[str, ...]
    others: tuple[str, ...]
    is_retyped: bool
    equality: Mapping[str, str]
    keys: tuple[ForeignKey, ...]
    triggers: tuple[dict[str, Any], ...]
    # Rows of this file may have lost a reference before they went themselves.
    is_changed_too: bool
    refers_to_itself: bool

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(part.rows for part in self.parts)

    @property
    def compared(self) -> tuple[str, ...]:
        """What of a row that came back is as it was: references that it lost before it went come back later."""
        return self.others if self.is_changed_too else self.written

    @property
    def changing(self) -> list[ForeignKey]:
        """The foreign keys whose columns change when what they refer to goes."""
        return [key for key in self.keys if key.action in CHANGES]

    def fired(self, event: str) -> list[str]:
        """The names of its triggers on_insert or on_update."""
        return [trigger["name"] for trigger in self.triggers if trigger[event]]


def find_targets(
    connection: Connection, manifest: ArchiveManifest, parts: Sequence[Part], schema: Schema
) -> list[UndoTarget]:
    """Return the target of each file that has rows; raises `IacallsError` naming the first thing that is missing."""
    found = {(relation.schema, relation.name): relation for relation in schema.relations.values()}
    full = [file for file in manifest.files if any(part.path == file.path for part in parts)]
    changed = {(file.schema, file.table) for file in full if file.action == "changed"}
    targets = []
    for file in full:
        relation = found.get((file.schema, file.table))
        if relation is None:
            raise IacallsError(
                f"the table {file.schema}.{file.table} does not exist any more",
                "create it, then its rows can come back; nothing was changed",
            )
        own = tuple(part for part in parts if part.path == file.path)
        targets.append(make_target(connection, file, own, relation, schema, (file.schema, file.table) in changed))
    for target in targets:
        require_privileges(connection, target)
        require_keys(connection, "", target.keys, checks_only=True)
        if target.file.action == "changed":
            require_updates(connection, target.relation, target.changing)
    return targets


def make_target(
    connection: Connection,
    file: ArchivedFile,
    parts: tuple[Part, ...],
    relation: Relation,
    schema: Schema,
    is_changed_too: bool,
) -> UndoTarget:
    """Return the target of a file; raises `IacallsError` where the live table lacks a column of it."""
    live = {row["name"]: row for row in fetch(connection, load_query("maintain/columns"), {"oid": relation.oid})}
    for name in file.columns:
        if name not in live:
            raise IacallsError(
                f"{relation} has no column {name} any more, and the archived rows have one",
                "add it, then the rows can come back; nothing was changed",
            )
    written = tuple(name for name in file.columns if not live[name]["is_generated"])
    heritage = schema.heritage(relation)
    keys = tuple(with_defaults(connection, key) for key in schema.foreign_keys if key.child in heritage)
    lost = {name for key in keys if key.action in CHANGES for name in key.changed} | {TOUCHED}
    return UndoTarget(
        file=file,
        parts=parts,
        relation=relation,
        written=written,
        others=tuple(name for name in written if name not in lost),
        is_retyped=any(live[name]["type"] != kind for name, kind in zip(file.columns, file.types, strict=True)),
        equality={name: row["equals"] for name, row in live.items()},
        keys=keys,
        triggers=tuple(fetch(connection, load_query("maintain/own-triggers"), {"oid": relation.oid})),
        is_changed_too=is_changed_too and file.action == "deleted",
        refers_to_itself=any(schema.relations[key.parent].top == relation.top for key in keys),
    )


def with_defaults(connection: Connection, key: ForeignKey) -> ForeignKey:
    """A foreign key whose ON DELETE SET DEFAULT values can be read with the application's search_path."""
    if CHANGES.get(key.action) != "set default":
        return key
    with connection.transaction(), application_path(connection):
        rows = fetch(connection, load_query("maintain/column-defaults"), {"oid": key.child})
    values = {row["name"]: row["value"] for row in rows}
    return replace(key, lost=tuple(values.get(name, "NULL") for name in key.changed))


def require_privileges(connection: Connection, target: UndoTarget) -> None:
    """Raise `DatabaseError` unless this role may write the rows back, and nothing turns that into something else."""
    relation = target.relation
    (access,) = fetch(connection, load_query("maintain/access"), {"oid": relation.oid})
    is_new = target.file.action == "deleted"
    wanted = {"may_read": "SELECT", **({"may_insert": "INSERT"} if is_new else {"may_lock": "UPDATE"})}
    if missing := [name for right, name in wanted.items() if not access[right]]:
        raise DatabaseError(f"the role {connection.info.user} lacks {', '.join(missing)} on {relation}", OWNERS_ROLE)
    if access["has_row_security"]:
        raise DatabaseError(
            f"row security hides rows of {relation} from this role",
            row_security_hint(access["quoted"], is_owner=access["is_owner"], is_forced=access["is_forced"]),
        )
    if access["write_rule"]:
        raise DatabaseError(
            f"the rule {access['write_rule']} on {relation} turns what is written into something else",
            "drop it for the time of the undo",
        )
    if not is_new and target.fired("on_update") and not access["is_owner"]:
        raise DatabaseError(
            f"only the owner of {relation} can give its rows their references back with {TOUCHED} as it was",
            OWNERS_ROLE,
        )


def order_of_return(targets: Sequence[UndoTarget], schema: Schema) -> tuple[list[UndoTarget], bool]:
    """Parents before children, changed rows at the end; and whether foreign keys go round in a circle."""
    tops = {target.relation.top for target in targets}
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(tops, ()))
    for key in schema.foreign_keys:
        child, parent = schema.relations[key.child].top, schema.relations[key.parent].top
        if child in tops and parent in tops and child != parent:
            order.add(child, parent)
    try:
        places, is_circle = {top: number for number, top in enumerate(order.static_order())}, False
    except CycleError:  # the archive's own order is the best there is, and what waits for another comes later
        places, is_circle = dict.fromkeys(tops, 0), True
    latest_first = list(reversed(targets))
    return sorted(latest_first, key=lambda one: (one.file.action != "deleted", places[one.relation.top])), is_circle
