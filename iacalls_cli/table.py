"""What a command answers: rows with named columns. This module imports nothing of ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, get_type_hints

Cell = str | int | float | bool | None
# Fields of records can say how people want to see them.
Bytes = Annotated[int, "bytes"]
Prose = Annotated[str, "prose"]
KINDS = {int: "number", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class Column:
    """A column. `kind` is number, bytes, boolean, json, array, time, prose or text.

    Cells are Python values or, from the database, the server's own text (`t`, `{1,2}`).
    Prose is wrapped where text would be cut; a wide column is left out where a terminal
    has no room for all.
    """

    name: str
    kind: str = "text"
    is_wide: bool = False

    @property
    def is_number(self) -> bool:
        """Whether its cells are numbers: aligned to the right, bare in JSON."""
        return self.kind in ("number", "bytes")


@dataclass(frozen=True)
class Table:
    """Rows under columns. `rows` may be an iterator that is still arriving: read it once.

    `is_text` promises that every cell is the server's text or None.
    """

    columns: tuple[Column, ...]
    rows: Iterable[Sequence[Cell]]
    title: str = ""
    is_text: bool = False

    def only(self, *names: str) -> "Table":
        """The same rows with these columns alone."""
        indexes = [index for index, column in enumerate(self.columns) if column.name in names]
        rows = [tuple(row[index] for index in indexes) for row in self.rows]
        return replace(self, columns=tuple(self.columns[index] for index in indexes), rows=rows)


@dataclass(frozen=True)
class Result:
    """A command's result: its rows, and further members of the JSON envelope.

    A further `Table` is shown below the first one; other values stand in JSON only.
    """

    data: Table
    more: Mapping[str, Any] = field(default_factory=dict)


def table_of(record: type, records: Iterable[Any], title: str = "") -> Table:
    """A table of dataclass instances, one column for each field."""
    hints = get_type_hints(record, include_extras=True)
    columns = tuple(Column(item.name, kind_of_hint(hints[item.name])) for item in fields(record))
    rows = [tuple(getattr(entry, column.name) for column in columns) for entry in records]
    return Table(columns, rows, title)


def kind_of_hint(hint: Any) -> str:
    """The kind of a field by its annotation; `int | None` is a number too."""
    for option in (hint, *getattr(hint, "__args__", ())):
        if metadata := getattr(option, "__metadata__", ()):
            return str(metadata[0])
        if option in KINDS:
            return KINDS[option]
    return "text"
