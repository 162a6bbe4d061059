"""Tables for pipes and log files: aligned, whole, without colour."""

from typing import TextIO

from tabulate import tabulate

from iacalls_cli.output.cells import shown
from iacalls_cli.table import Table
from iacalls_cli.text import printable


def write_plain(tables: list[Table], stream: TextIO) -> None:
    """Write tables one below the other."""
    for number, table in enumerate(tables):
        if number:
            stream.write("\n")
        if table.title:
            stream.write(printable(table.title) + "\n\n")
        rows = [[shown(cell, column) for cell, column in zip(row, table.columns, strict=True)] for row in table.rows]
        headers = [printable(column.name) for column in table.columns]
        align = ["right" if column.is_number else "left" for column in table.columns]
        text = tabulate(
            rows or [[""] * len(headers)],
            headers,
            "simple",
            disable_numparse=True,
            colalign=align,
            preserve_whitespace=True,
        )
        lines = [line.rstrip() for line in text.splitlines()]
        stream.write("\n".join(lines if rows else lines[:-1]) + "\n")
