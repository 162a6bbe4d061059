"""The one way to stdout: a result, a format, and the renderer for it."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
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


@dataclass(frozen=True)
class Envelope:
    """What a renderer gets: the result, and what it is the result of."""

    result: Result
    command: str
    target: Mapping[str, str]

    @property
    def seen(self) -> list[Table]:
        """The tables that people see, as they see them."""
        further = (value for value in self.result.more.values() if isinstance(value, Table))
        return [self.result.data.for_people(), *(shown for table in further if (shown := table.for_people()).rows)]


def write_json(envelope: Envelope, stream: TextIO) -> None:
    """One object with everything."""
    from iacalls_cli.output import structured

    structured.write_json(envelope.result, envelope.command, envelope.target, stream)


def write_json_lines(envelope: Envelope, stream: TextIO) -> None:
    """The rows alone, an object a line."""
    from iacalls_cli.output import structured

    structured.write_json_lines(envelope.result.data, stream)


def write_csv(envelope: Envelope, stream: TextIO, *, is_tsv: bool = False) -> None:
    """The rows alone, as CSV or TSV."""
    from iacalls_cli.output import delimited

    delimited.write_delimited(envelope.result.data, is_tsv, stream)


def write_markdown(envelope: Envelope, stream: TextIO) -> None:
    """What people see, as Markdown."""
    from iacalls_cli.output import markup

    markup.write_markdown(envelope.seen, stream)


def write_html(envelope: Envelope, stream: TextIO) -> None:
    """What people see, as a page."""
    from iacalls_cli.output import markup

    markup.write_html(envelope.seen, envelope.command, stream)


RENDERERS: Mapping[Format, Callable[[Envelope, TextIO], None]] = {
    Format.TABLE: lambda envelope, stream: write_tables(envelope.seen, stream),
    Format.JSON: write_json,
    Format.JSONL: write_json_lines,
    Format.CSV: write_csv,
    Format.TSV: partial(write_csv, is_tsv=True),
    Format.MARKDOWN: write_markdown,
    Format.HTML: write_html,
}


def write_result(
    result: Result, output: Format, command: str, target: Mapping[str, str], stream: TextIO | None = None
) -> None:
    """Write a result to stdout (or `stream`).

    Tables on a terminal are fitted to its width; every other format holds every cell whole.
    CSV, TSV and JSON lines hold the result's rows alone.
    """
    stream = stream or sys.stdout
    RENDERERS[output](Envelope(result, command, target), stream)
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
    """Text that is itself the result (a diagram, a query's SQL): exact, but harmless on a terminal."""
    if sys.stdout.isatty():
        text = "\n".join(printable(line) for line in text.splitlines())
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()
