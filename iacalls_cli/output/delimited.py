r"""CSV as RFC 4180 says, and TSV as COPY's text format.

Both tell NULL from '': in CSV NULL is an empty field and '' is `""`, in TSV NULL is `\\N`.
"""

from collections.abc import Callable
from typing import TextIO

from iacalls_cli.output.cells import plain_text
from iacalls_cli.table import Table
from iacalls_cli.text import printable

# RFC 4180 wants quotes around line breaks, quotes and commas. White space at an end is
# quoted too, because some readers strip it.
CSV_SPECIAL = frozenset(',"\r\n')
TSV_ESCAPES = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
)


def write_delimited(table: Table, is_tsv: bool, stream: TextIO) -> None:
    """Write a header line and the rows. Shown on a terminal, control characters are escaped."""
    field = tsv_field if is_tsv else csv_field
    separator, end = ("\t", "\n") if is_tsv else (",", "\r\n")
    protect: Callable[[str], str] = printable if stream.isatty() else str
    stream.write(separator.join(field(protect(column.name)) for column in table.columns) + end)
    for row in table.rows:
        stream.write(separator.join(field(None if cell is None else protect(plain_text(cell))) for cell in row) + end)


def csv_field(text: str | None) -> str:
    """One CSV field."""
    if text is None:
        return ""
    if not text or not CSV_SPECIAL.isdisjoint(text) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text


def tsv_field(text: str | None) -> str:
    """One field of COPY's text format."""
    return r"\N" if text is None else text.translate(TSV_ESCAPES)
