"""Tables on a terminal, drawn by Rich."""

from collections.abc import Sequence
from typing import Literal, TextIO

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from iacalls_cli.output.cells import shown
from iacalls_cli.output.layout import GAP, TIME_CELLS, Extent, fit_columns, fits_whole, fold_header
from iacalls_cli.table import Cell, Column, Table
from iacalls_cli.text import printable

NULL_STYLE = "dim italic"
# A single row that does not fit reads best as a record, unless it has no more columns than this.
FEW_COLUMNS = 4
# A word that judges is coloured as well; the word alone says the same.
VERDICTS = {"ok": "green", "warning": "yellow", "problem": "bold red", "running": "green", "stopped": "yellow",
            "absent": "yellow", "unreachable": "bold red", "missing": "bold red"}  # fmt: skip


def print_tables(tables: list[Table], stream: TextIO) -> None:
    """Print tables one below the other, fitted to the terminal's width."""
    console = Console(file=stream, highlight=False, soft_wrap=False)
    for number, table in enumerate(tables):
        if number:
            console.print()
        if table.title:
            console.print(Text(printable(table.title), style="bold"))
        rows = [[show(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
        hidden = print_rows(console, table.columns, rows)
        counted = f"{len(rows)} row{'' if len(rows) == 1 else 's'}"
        note = f"; no room for {', '.join(hidden)}, -o json shows all" if hidden else ""
        console.print(Text(f"({counted}{note})", style="dim"))


def print_rows(console: Console, columns: Sequence[Column], rows: list[list[Text]]) -> list[str]:
    """Print rows as a grid, without the wide columns where those do not fit, or else as records.

    Returns the names of the columns that were left out.
    """
    extents = [extent_of(column, [row[index] for row in rows]) for index, column in enumerate(columns)]
    chosen = list(range(len(columns)))
    is_whole = fits_whole(extents, console.width)
    if not is_whole and len(rows) == 1 and len(columns) > FEW_COLUMNS:
        print_records(console, columns, rows)
        return []
    if not is_whole:
        chosen = [index for index in chosen if not columns[index].is_wide]
    widths = fit_columns([extents[index] for index in chosen], console.width)
    if widths is None:
        print_records(console, columns, rows)
        return []
    print_grid(console, [columns[i] for i in chosen], [[row[i] for i in chosen] for row in rows], widths)
    return [column.name for index, column in enumerate(columns) if index not in chosen]


def print_grid(console: Console, columns: Sequence[Column], rows: list[list[Text]], widths: list[int]) -> None:
    """One line a row, more where prose is wrapped."""
    # The box draws one cell of the gap, the padding the rest.
    padding = (0, GAP - 1, 0, 0)
    grid = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=padding, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        header = Text(fold_header(printable(column.name), width))
        justify: Literal["left", "right"] = "right" if column.is_number else "left"
        wraps = column.kind == "prose"
        grid.add_column(
            header,
            justify=justify,
            width=width,
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
            vertical="top",
        )
    for row in rows:
        grid.add_row(*map(cut_time, row, columns, widths))
    console.print(grid, crop=True)


def cut_time(cell: Text, column: Column, width: int) -> Text:
    """A time that has no room, cut behind its minutes: half of a number would be read as one."""
    if column.kind != "time" or cell.cell_len <= width:
        return cell
    return Text(f"{cell.plain[: TIME_CELLS - 1]}…")


def print_records(console: Console, columns: Sequence[Column], rows: list[list[Text]]) -> None:
    """One block a row, for tables that are too wide for the terminal."""
    for number, row in enumerate(rows, 1):
        console.rule(f"{number}", align="left", style="dim", characters="─")
        grid = RichTable.grid(padding=(0, GAP, 0, 0))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for column, cell in zip(columns, row, strict=True):
            if column.kind != "prose":
                cell.no_wrap, cell.overflow = True, "ellipsis"
            grid.add_row(printable(column.name), cell)
        console.print(grid)


def show(cell: Cell, column: Column) -> Text:
    """A cell for display; NULL looks different from the text NULL where there is colour."""
    if cell is None:
        return Text("NULL", style=NULL_STYLE)
    text = shown(cell, column)
    return Text(text, style=VERDICTS.get(text, ""))


def extent_of(column: Column, cells: Sequence[Text]) -> Extent:
    """How much room a column takes."""
    return Extent(column.kind, max((cell.cell_len for cell in cells), default=0), printable(column.name))
