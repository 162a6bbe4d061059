"""The one way to stdout: an answer, a format, and the renderer for it."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO

from iacalls_cli.table import Result, Table
from iacalls_cli.text import printable


class Format(StrEnum):
    """The output formats."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    MARKDOWN = "markdown"
    HTML = "html"


# The formats that are read by people, not by programs.
FOR_PEOPLE = (Format.TABLE, Format.MARKDOWN, Format.HTML)


def without_empty_notes(table: Table, output: Format) -> Table:
    """For people a table without its last column, the notes, where that is empty; its rows are a sequence."""
    if output not in FOR_PEOPLE or any(row[-1] for row in table.rows):
        return table
    return table.only(*[column.name for column in table.columns[:-1]])


def write_answer(
    answer: Result, output: Format, command: str, target: Mapping[str, str], stream: TextIO | None = None
) -> None:
    """Write an answer to stdout (or `stream`).

    Tables on a terminal are fitted to its width; every other format holds every cell whole.
    CSV, TSV and JSON lines hold the answer's rows alone.
    """
    stream = stream or sys.stdout
    if output is Format.JSON:
        from iacalls_cli.output.structured import write_json

        write_json(answer, command, target, stream)
    elif output is Format.JSONL:
        from iacalls_cli.output.structured import write_json_lines

        write_json_lines(answer.data, stream)
    elif output in (Format.CSV, Format.TSV):
        from iacalls_cli.output.delimited import write_delimited

        write_delimited(answer.data, output is Format.TSV, stream)
    else:
        tables = [answer.data, *(value for value in answer.more.values() if isinstance(value, Table))]
        if output is Format.TABLE:
            write_tables(tables, stream)
        elif output is Format.HTML:
            from iacalls_cli.output.markup import write_html

            write_html(tables, command, stream)
        else:
            from iacalls_cli.output.markup import write_markdown

            write_markdown(tables, stream)
    stream.flush()


def write_tables(tables: list[Table], stream: TextIO) -> None:
    """Tables for people: Rich on a terminal, plain text elsewhere."""
    if stream.isatty():
        from iacalls_cli.output.terminal import print_tables

        print_tables(tables, stream)
    else:
        from iacalls_cli.output.plain import write_plain

        write_plain(tables, stream)


def write_text(text: str) -> None:
    """Text that is itself the answer (a diagram, a query's SQL): exact, but harmless on a terminal."""
    if sys.stdout.isatty():
        text = "\n".join(printable(line) for line in text.splitlines())
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
