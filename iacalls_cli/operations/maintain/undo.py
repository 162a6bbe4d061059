"""Putting the rows of a cleanup back: with their ids, as they were, over nothing that is there.

Tables are filled parents before children. A row that is there unchanged is counted as such; one
whose place is taken, or whose parent is gone, is a conflict and is told. Rows that had only lost a
reference get it back, where it is still missing.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import islice
from pathlib import Path

from iacalls_cli.database.connection import Connection
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.archive import ArchivedFile, Part, kept_parts, part_rows
from iacalls_cli.operations.maintain.archives import Archive
from iacalls_cli.operations.maintain.ranges import Pace
from iacalls_cli.operations.maintain.references import Relation, Schema
from iacalls_cli.operations.maintain.referring import refer
from iacalls_cli.operations.maintain.rowtext import to_copy
from iacalls_cli.operations.maintain.staging import Staging
from iacalls_cli.operations.maintain.sweep import Progress

FIRST_ROWS = 1000.0
NAMED_CONFLICTS = 1000


@dataclass(frozen=True)
class Conflict:
    """A row that was not put back: its table, its key, and why."""

    table: str
    key: str
    reason: str


@dataclass
class Returned:
    """What became of one file's rows."""

    table: str
    action: str
    rows: int = 0
    restored: int = 0
    present: int = 0
    conflicts: int = 0


@dataclass
class Task:
    """The return of one file's rows. `is_losing` says that rows of its table have lost references, too."""

    file: ArchivedFile
    relation: Relation
    parts: list[Part]
    returned: Returned
    is_losing: bool
    conflicts: list[Conflict] = field(default_factory=list)


@dataclass
class UndoResult:
    """What an undo did, file by file, and the first conflicts."""

    files: list[Returned] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def restored(self) -> int:
        """Rows put back, and rows that got their reference back."""
        return sum(file.restored for file in self.files)


def archived_relations(archive: Archive, schema: Schema) -> dict[str, Relation]:
    """The live tables of an archive's files, by the file's path; raises `IacallsError` for one that is gone."""
    assert archive.manifest is not None  # noqa: S101, a damaged one is refused before
    live = {(relation.schema, relation.name): relation for relation in schema.relations.values()}
    found = {}
    for file in archive.manifest.files:
        if (file.schema, file.table) not in live:
            raise IacallsError(
                f"the table {file.schema}.{file.table} does not exist any more",
                "create it, then its rows can come back",
            )
        found[file.path] = live[file.schema, file.table]
    return found


def return_order(archive: Archive, schema: Schema, relations: dict[str, Relation]) -> list[ArchivedFile]:
    """The files in the order of their return: parents before children, changed rows at the end."""
    assert archive.manifest is not None  # noqa: S101, a damaged one is refused before
    tops = {relation.top for relation in relations.values()}
    order: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(tops, ()))
    for key in schema.foreign_keys:
        child, parent = schema.relations[key.child].top, schema.relations[key.parent].top
        if child in tops and parent in tops and child != parent:
            order.add(child, parent)
    files = list(reversed(archive.manifest.files))
    try:
        places = {top: number for number, top in enumerate(order.static_order())}
    except CycleError:  # the archive's own order is the best there is
        places = dict.fromkeys(tops, 0)
    return sorted(files, key=lambda file: (file.action != "deleted", places[relations[file.path].top]))


def return_rows(
    connection: Connection, archive: Archive, schema: Schema, progress: Progress, *, is_dry: bool
) -> UndoResult:
    """Put an archive's rows back, or with `is_dry` only look which are there and which places are taken.

    The archive has to be verified, and settled. Each batch of rows is one transaction; an undo that
    was broken off is begun again and finds those rows present. Raises `DatabaseError` with the server's words.
    """
    relations, parts = archived_relations(archive, schema), kept_parts(archive.folder)
    files = return_order(archive, schema, relations)
    losing = {relations[file.path].oid for file in files if file.action == "changed"}
    tasks = []
    for file in files:
        relation = relations[file.path]
        mine = [part for part in parts if part.path == file.path]
        returned = Returned(str(relation), file.action, rows=sum(part.rows for part in mine))
        tasks.append(Task(file, relation, mine, returned, relation.oid in losing))
    waiting = tasks
    while waiting:
        before = sum(task.returned.restored for task in tasks)
        for task in waiting:
            return_file(connection, archive, schema, task, progress, is_dry=is_dry)
        # A row may refer to one of its own table, or of one in a circle of tables, that comes later.
        if is_dry or sum(task.returned.restored for task in tasks) == before:
            break
        waiting = [task for task in tasks if task.returned.conflicts]
    conflicts = [conflict for task in tasks for conflict in task.conflicts]
    return UndoResult([task.returned for task in tasks], conflicts[:NAMED_CONFLICTS])


def return_file(
    connection: Connection, archive: Archive, schema: Schema, task: "Task", progress: Progress, *, is_dry: bool
) -> None:
    """Put one file's rows back that are not there yet."""
    returned, lost_first = task.returned, task.is_losing and task.file.action == "deleted"
    # A row that lost two references, one after the other, gets the last one back first.
    groups = [task.parts] if task.file.action == "deleted" else [[part] for part in reversed(task.parts)]
    done = returned.conflicts = 0
    task.conflicts = []
    with Staging.open(connection, task.relation, task.file, schema, lost_first=lost_first) as staging:
        for group in groups:
            lines = read_lines(archive.folder, task.file, group)
            for restored, present, conflicts, count in batches(staging, lines, is_dry=is_dry):
                returned.restored += restored
                returned.conflicts += count - restored - present
                done += count
                room = NAMED_CONFLICTS - len(task.conflicts)
                task.conflicts += [Conflict(str(task.relation), *one) for one in conflicts[:room]]
                progress(f"{task.relation} ({task.file.action})", done, returned.rows)
    returned.present = returned.rows - returned.restored - returned.conflicts


def read_lines(folder: Path, file: ArchivedFile, parts: Sequence[Part]) -> Iterator[bytes]:
    """The JSON lines of some parts of a file."""
    return (line for part in parts for line in part_rows(folder, file, part))


def batches(
    staging: Staging, lines: Iterator[bytes], *, is_dry: bool
) -> Iterator[tuple[int, int, list[tuple[str, str]], int]]:
    """Put rows back in transactions of a fifth of a second: restored, present, conflicts, rows of each."""
    pace = Pace(FIRST_ROWS, least=FIRST_ROWS / 4)
    put = staging.restore if staging.file.action == "deleted" else partial(refer, staging)
    act = staging.look if is_dry else put
    while batch := [to_copy(line) for line in islice(lines, int(pace.width))]:
        began = time.monotonic()
        restored, present, conflicts = staging.put_back(batch, act)
        pace.took(time.monotonic() - began)
        yield restored, present, conflicts, len(batch)
