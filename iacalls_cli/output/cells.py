"""One cell as text: as PostgreSQL writes it, and as people read it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from iacalls_cli.table import Cell, Column
from iacalls_cli.text import pretty_size, printable

CHUNK_ROWS = 500
Row = TypeVar("Row")


def plain_text(cell: Cell) -> str:
    """A cell as PostgreSQL would write it."""
    if isinstance(cell, bool):
        return "t" if cell else "f"
    return str(cell)


def worded(cell: Cell, column: Column) -> str:
    """A cell for people: yes and no, and NULL by its name, so that it is not taken for ''."""
    if cell is None:
        return "NULL"
    text = plain_text(cell)
    return {"t": "yes", "f": "no"}.get(text, text) if column.kind == "boolean" else text


def shown(cell: Cell, column: Column) -> str:
    """A cell on one line, for people; sizes in larger units."""
    if cell is not None and column.kind == "bytes":
        return pretty_size(int(cell))
    return printable(worded(cell, column))


def in_chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows some hundred at a time."""
    arriving = iter(rows)
    while chunk := list(islice(arriving, CHUNK_ROWS)):
        yield chunk
