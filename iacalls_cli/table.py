"""What a command answers: rows with named columns. This module imports nothing of ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, get_type_hints

Cell = str | int | float | bool | None
# Fields of records can say how people want to see them.
Bytes = Annotated[int, "bytes"]
Prose = Annotated[str, "prose"]
# Why something failed, mostly nothing.
Problem = Annotated[str | None, "prose", "hides_empty"]
# What a program may want, and people see elsewhere.
Detail = Annotated[str, "text", "is_for_programs"]
KINDS = {int: "number", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Column:
    """A column. `kind` is number, bytes, boolean, json, array, time, prose or text.

    Cells are Python values or, from the database, the server's own text (`t`, `{1,2}`).
    Prose is wrapped where text would be cut; a wide column is left out where a terminal
    has no room for all. People do not see a column that `hides_empty` and has nothing in any
    row, nor one that `is_for_programs`.
    """

    name: str
    kind: str = "text"
    is_wide: bool = False
    hides_empty: bool = False
    is_for_programs: bool = False

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers: aligned to the right, bare in JSON."""
        return self.kind in ("number", "bytes")


@dataclass(frozen=True)
class Table:
    """Rows under columns. `rows` may be an iterator that is still arriving: read it once.

    `is_text` promises that every cell is the server's text or None. `rows_for_people` are those that
    people see, where that is not all; a table that `is_for_people` is none of a program's.
    """

    columns: tuple[Column, ...]
    rows: Iterable[Sequence[Cell]]
    title: str = ""
    is_text: bool = False
    rows_for_people: Sequence[Sequence[Cell]] | None = None
    is_for_people: bool = False

    def for_people(self) -> "Table":
        """Return what people see of it."""
        rows = self.rows if self.rows_for_people is None else self.rows_for_people
        shown = [index for index, column in enumerate(self.columns) if not column.is_for_programs]
        if any(column.hides_empty for column in self.columns):
            rows = list(rows)
            shown = [index for index in shown if not self.columns[index].hides_empty or any(row[index] for row in rows)]
        if len(shown) < len(self.columns):
            rows = [tuple(row[index] for index in shown) for row in rows]
        return replace(self, columns=tuple(self.columns[index] for index in shown), rows=rows)


@dataclass(frozen=True)
class Result:
    """A command's result: its rows, and further members of the JSON envelope.

    A further `Table` is shown below the first one if it has rows, which are a sequence; other values stand in JSON
    only.
    """

    data: Table
    more: Mapping[str, Any] = field(default_factory=dict)


def table_of(record: type, records: Iterable[Any], title: str = "") -> Table:
    """A table of dataclass instances, one column for each field."""
    hints = get_type_hints(record, include_extras=True)
    columns = tuple(column_of(item.name, hints[item.name]) for item in fields(record))
    rows = [tuple(getattr(entry, column.name) for column in columns) for entry in records]
    return Table(columns, rows, title)


def column_of(name: str, hint: Any) -> Column:
    """Return the column of a field: its annotation names the kind, then flags of `Column`; `int | None` is a number."""
    for option in (hint, *getattr(hint, "__args__", ())):
        if metadata := getattr(option, "__metadata__", ()):
            return Column(name, metadata[0], **dict.fromkeys(metadata[1:], True))
        if option in KINDS:
            return Column(name, KINDS[option])
    return Column(name)
