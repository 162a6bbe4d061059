"""Putting the rows of a cleanup back: with their ids, as they were, over nothing that is there.

Tables are filled parents before children. A row that is there unchanged is counted as such; one
whose place is taken, or whose parent is gone, is a conflict and is told. Rows that had only lost a
reference get it back, where it is still missing.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from iacalls_cli.database.connection import Connection
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.archive.format import Part, kept_parts, part_rows
from iacalls_cli.operations.maintain.archive.rows import to_copy
from iacalls_cli.operations.maintain.archive.store import Archive
from iacalls_cli.operations.maintain.cleanup.delete import LOCK_WAIT, SILENCE, Progress
from iacalls_cli.operations.maintain.cleanup.ranges import BatchSize
from iacalls_cli.operations.maintain.cleanup.safeguards import require_origin
from iacalls_cli.operations.maintain.relations import Schema
from iacalls_cli.operations.maintain.undo.deleted_rows import DeletedRows
from iacalls_cli.operations.maintain.undo.references import References
from iacalls_cli.operations.maintain.undo.staging import Outcome, Parents, Staging
from iacalls_cli.operations.maintain.undo.targets import UndoTarget, find_targets, order_of_return

FIRST_ROWS = 1000.0
# Each batch of a table without a key reads that table; and rows that wait for one another have to meet in one.
KEYLESS_ROWS, WAITING_ROWS = 20_000.0, 50_000.0
# In memory at once.
BATCH_BYTES = 16 << 20
NAMED_CONFLICTS = 1000
# What a single row may be to blame for: values that do not fit, and constraints.
ROWS_FAULTS, MOST_REFUSED = ("22", "23"), 1000


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
class UndoResult:
    """What an undo did, file by file, and the first conflicts of each by its number."""

    files: list[Returned] = field(default_factory=list)
    named: dict[int, list[Conflict]] = field(default_factory=dict)

    @property
    def restored(self) -> int:
        """Rows put back, and rows that got their reference back."""
        return sum(file.restored for file in self.files)

    @property
    def conflicts(self) -> list[Conflict]:
        """The first conflicts."""
        return [one for number in sorted(self.named) for one in self.named[number]][:NAMED_CONFLICTS]


@dataclass
class Undo:
    """An undo under way; `back` are the rows put back so far, also where it is broken off."""

    connection: Connection
    archive: Archive
    schema: Schema
    progress: Progress
    is_dry: bool
    result: UndoResult = field(default_factory=UndoResult)
    refused: int = 0
    back: int = 0

    def run(self) -> None:
        """Put the archive's rows back, or with `is_dry` only look which could be.

        The archive has to be verified, and settled. Each batch of rows is one transaction; an undo that
        was broken off is begun again and finds those rows present. Raises `IacallsError` before anything
        where a table, a column or a right is missing, and `DatabaseError` with the server's words.
        """
        assert self.archive.manifest is not None  # noqa: S101, a damaged one is refused before
        for name, value in (("lock_timeout", LOCK_WAIT), ("idle_in_transaction_session_timeout", SILENCE)):
            self.connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        require_origin(self.connection)
        parts = kept_parts(self.archive.folder)
        found = find_targets(self.connection, self.archive.manifest, parts, self.schema)
        targets, is_circle = order_of_return(found, self.schema)
        parents = Parents.open(self.connection, self.schema, targets)
        self.result.files = [Returned(str(one.relation), one.file.action, one.rows) for one in targets]
        for action, kind in (("deleted", DeletedRows), ("changed", References)):
            waiting = {
                number: kind(self.connection, one, self.schema, parents, self.is_dry)
                for number, one in enumerate(targets)
                if one.file.action == action
            }
            # A row may refer to one that comes later: of its own table, or where foreign keys go round in a circle.
            is_repeated = is_circle or any(one.target.refers_to_itself for one in waiting.values())
            left, least = -1, 0.0
            while waiting:
                for number, staging in waiting.items():
                    self.return_file(number, staging, least)
                least = WAITING_ROWS
                waiting = {number: one for number, one in waiting.items() if self.result.files[number].conflicts}
                before, left = left, sum(self.result.files[number].conflicts for number in waiting)
                if not is_repeated or left == before:
                    break

    def return_file(self, number: int, staging: Staging, least: float) -> None:
        """Put the rows of one file back, at least so many in a transaction."""
        target, returned = staging.target, self.result.files[number]
        named: list[Conflict] = []
        self.result.named[number] = named
        returned.conflicts = done = 0
        if self.is_dry:
            returned.restored = 0
        staging.open()
        for outcome, count in self.batches(staging, least):
            returned.restored += outcome.restored
            returned.conflicts += len(outcome.conflicts)
            done += count
            named += [Conflict(returned.table, *one) for one in outcome.conflicts[: NAMED_CONFLICTS - len(named)]]
            self.progress(f"{target.relation} ({target.file.action})", done, returned.rows)
        returned.present = returned.rows - returned.restored - returned.conflicts

    def batches(self, staging: Staging, least: float) -> Iterator[tuple[Outcome, int]]:
        """Put rows back in transactions of a fifth of a second: what became of each, and how many rows it had."""
        target = staging.target
        # A row that lost two references, one after the other, gets the last one back first.
        parts = list(target.parts)
        groups = [parts] if target.file.action == "deleted" else [[part] for part in reversed(parts)]
        least = max(least, FIRST_ROWS / 4 if target.file.key else KEYLESS_ROWS)
        batch_size = BatchSize(max(FIRST_ROWS, least), least=least)
        for group in groups:
            lines = read_lines(self.archive.folder, target, group)
            while batch := read_batch(lines, int(batch_size.width)):
                began = time.monotonic()
                outcome = self.put_back(staging, batch)
                batch_size.took(time.monotonic() - began)
                yield outcome, len(batch)

    def put_back(self, staging: Staging, lines: Sequence[bytes]) -> Outcome:
        """Put rows back; where the table refuses them together, those that it refuses are found and told."""
        try:
            outcome = staging.put_back([to_copy(line) for line in lines])
        except DatabaseError as error:
            if error.sqlstate[:2] not in ROWS_FAULTS:
                raise
            if len(lines) == 1:
                self.refused += 1
                if self.refused > MOST_REFUSED:
                    raise DatabaseError(
                        f"{staging.target.relation} refuses row after row: {error.message}",
                        "solve that and undo again, what is back stays as it is",
                        error.sqlstate,
                    ) from None
                file = staging.target.file
                values = dict(zip(file.columns, json.loads(lines[0].decode("utf-8", "replace")), strict=True))
                key = ", ".join(str(values[name]) for name in file.key or file.columns[:3])
                return Outcome(conflicts=[(key, error.message)])
        else:
            self.back += outcome.restored
            return outcome
        half = len(lines) // 2
        first, second = self.put_back(staging, lines[:half]), self.put_back(staging, lines[half:])
        return Outcome(first.restored + second.restored, first.conflicts + second.conflicts)


def read_batch(lines: Iterator[bytes], rows: int) -> list[bytes]:
    """The next so many lines, or fewer long ones."""
    batch, size = [], 0
    for line in islice(lines, rows):
        batch.append(line)
        size += len(line)
        if size > BATCH_BYTES:
            break
    return batch


def read_lines(folder: Path, target: UndoTarget, parts: Sequence[Part]) -> Iterator[bytes]:
    """The JSON lines of some parts of a file."""
    return (line for part in parts for line in part_rows(folder, target.file, part))
