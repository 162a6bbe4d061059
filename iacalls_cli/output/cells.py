"""One cell as text: as PostgreSQL writes it, and as people read it."""

from iacalls_cli.table import Cell, Column
from iacalls_cli.text import pretty_size, printable


def plain_text(cell: Cell) -> str:
    """A cell as PostgreSQL would write it."""
    if isinstance(cell, bool):
        return "t" if cell else "f"
    return str(cell)


def shown(cell: Cell, column: Column) -> str:
    """A cell on one line, for people; NULL is named, so that it is not taken for ''."""
    if cell is None:
        return "NULL"
    if column.kind == "bytes":
        return pretty_size(int(cell))
    text = plain_text(cell)
    return {"t": "yes", "f": "no"}.get(text, text) if column.kind == "boolean" else printable(text)
