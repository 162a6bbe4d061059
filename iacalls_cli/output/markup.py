"""Markdown (GitHub's tables) and HTML."""

import html
import re
from collections.abc import Iterable
from typing import TextIO

from iacalls_cli.output.cells import worded
from iacalls_cli.table import Cell, Column, Table
from iacalls_cli.text import printable

MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")
STYLE = (
    "table{border-collapse:collapse;font-family:sans-serif}td,th{border:1px solid #ccc;padding:.2em .6em;"
    "text-align:left}td.number{text-align:right}td.null{color:#888;font-style:italic}"
)


def write_markdown(tables: list[Table], stream: TextIO) -> None:
    """Write tables as GitHub-flavoured Markdown."""
    for number, table in enumerate(tables):
        if number:
            stream.write("\n")
        if table.title:
            stream.write(f"**{markdown_text(table.title)}**\n\n")
        stream.write(markdown_line(markdown_text(column.name) for column in table.columns))
        stream.write(markdown_line("---:" if column.is_number else "---" for column in table.columns))
        for row in table.rows:
            stream.write(markdown_line(map(markdown_cell, row, table.columns)))


def markdown_cell(cell: Cell, column: Column) -> str:
    """One table cell."""
    return "*NULL*" if cell is None else markdown_text(worded(cell, column))


def markdown_line(cells: Iterable[str]) -> str:
    """One table line."""
    return "| " + " | ".join(cells) + " |\n"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is; line breaks become <br>."""
    lines = [
        MARKDOWN_SPECIAL.sub(r"\\\1", html.escape(printable(line), quote=False))
        for line in re.split("\r\n|\r|\n", text)
    ]
    return "<br>".join(lines)


def write_html(tables: list[Table], command: str, stream: TextIO) -> None:
    """Write tables as one HTML page of their own."""
    stream.write(
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(command)}</title>'
    )
    stream.write(f"<style>{STYLE}</style></head>\n<body>\n")
    for table in tables:
        stream.write("<table>\n")
        if table.title:
            stream.write(f"<caption>{html_text(table.title)}</caption>\n")
        stream.write("<tr>" + "".join(f"<th>{html_text(column.name)}</th>" for column in table.columns) + "</tr>\n")
        for row in table.rows:
            cells = (html_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))
            stream.write("<tr>" + "".join(cells) + "</tr>\n")
        stream.write("</table>\n")
    stream.write("</body>\n</html>\n")


def html_cell(cell: Cell, column: Column) -> str:
    """One table cell."""
    if cell is None:
        return '<td class="null">NULL</td>'
    mark = ' class="number"' if column.is_number else ""
    return f"<td{mark}>{html_text(worded(cell, column))}</td>"


def html_text(text: str) -> str:
    """Text that HTML shows as it is; line breaks become <br>."""
    return "<br>".join(html.escape(printable(line)) for line in re.split("\r\n|\r|\n", text))
