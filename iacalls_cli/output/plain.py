"""Tables for pipes and log files: aligned, whole, without colour.

A long result is not held in memory: the width of a column is that of its widest cell in the first
part of the rows, and grows where a later part needs more.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TextIO

from rich.cells import cell_len

from iacalls_cli.output.cells import in_chunks, shown
from iacalls_cli.table import Cell, Column, Table
from iacalls_cli.text import printable

# What is measured before the first line is written: so many rows, or so many characters.
MEASURED_ROWS, MEASURED_CHARACTERS = 5_000, 16_000_000
GAP = "  "
# A header has so much room around it.
HEADER_CELLS = 2

Texts = Sequence[str]


def write_plain(tables: list[Table], stream: TextIO) -> None:
    """Write tables one below the other."""
    for number, table in enumerate(tables):
        if number:
            stream.write("\n")
        if table.title:
            stream.write(printable(table.title) + "\n\n")
        write_table(table, stream)


def write_table(table: Table, stream: TextIO) -> None:
    """Write one table: its header, a rule, and the rows as they come."""
    headers = [printable(column.name) for column in table.columns]
    chunks = in_chunks(table.rows)
    first = measured_part(chunks, table.columns)
    widths = wider([cell_len(header) + HEADER_CELLS for header in headers], first)
    stream.write(aligned(headers, table.columns, widths))
    stream.write(GAP.join("-" * width for width in widths) + "\n")
    for rows in chain((first,), (shown_rows(chunk, table.columns) for chunk in chunks)):
        widths = wider(widths, rows)
        stream.writelines(aligned(row, table.columns, widths) for row in rows)


def measured_part(chunks: Iterator[list[Sequence[Cell]]], columns: Sequence[Column]) -> list[Texts]:
    """The first rows, as shown: enough to measure the columns, and never much memory."""
    rows: list[Texts] = []
    characters = 0
    for chunk in chunks:
        texts = shown_rows(chunk, columns)
        rows += texts
        characters += sum(sum(map(len, row)) for row in texts)
        if len(rows) >= MEASURED_ROWS or characters >= MEASURED_CHARACTERS:
            break
    return rows


def shown_rows(rows: Iterable[Sequence[Cell]], columns: Sequence[Column]) -> list[Texts]:
    """Rows as people read them."""
    return [[shown(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]


def wider(widths: Sequence[int], rows: Sequence[Texts]) -> list[int]:
    """The widths, in terminal cells, at which these rows fit as well."""
    if not rows:
        return list(widths)
    columns = zip(*rows, strict=True)
    return [max(width, *map(cell_len, texts)) for width, texts in zip(widths, columns, strict=True)]


def aligned(texts: Texts, columns: Sequence[Column], widths: Sequence[int]) -> str:
    """One line: numbers to the right, everything else to the left."""
    cells = []
    for text, column, width in zip(texts, columns, widths, strict=True):
        space = " " * (width - cell_len(text))
        cells.append(space + text if column.is_number else text + space)
    return GAP.join(cells).rstrip() + "\n"
