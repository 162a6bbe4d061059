r"""CSV as RFC 4180 says, and TSV as COPY's text format.

Both tell NULL from '': in CSV NULL is an empty field and '' is `""`, in TSV NULL is `\N`.
Rows are written some hundred at a time and column by column: whether a column needs quotes
at all is found in one look at all its texts, which makes an export twice as quick.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from iacalls_cli.output.cells import in_chunks, plain_text
from iacalls_cli.table import Table
from iacalls_cli.text import printable

CSV_SPECIAL = ',"\n\r'
TSV_SPECIAL = "\\\t\n\r\b\f\v"
TSV_ESCAPES = str.maketrans(dict(zip(TSV_SPECIAL, ("\\\\", "\\t", "\\n", "\\r", "\\b", "\\f", "\\v"), strict=True)))

Texts = Sequence[str | None]


def write_delimited(table: Table, is_tsv: bool, stream: TextIO) -> None:
    """Write a header line and the rows. Shown on a terminal, control characters are escaped."""
    guard: Callable[[str], str] | None = printable if stream.isatty() else None
    fields, separator, end = (tsv_fields, "\t", "\n") if is_tsv else (csv_fields, ",", "\r\n")
    names = [guard(column.name) if guard else column.name for column in table.columns]
    is_alone = len(names) == 1 and not is_tsv
    stream.write(separator.join(quote_end(fields(names)) if is_alone else fields(names)) + end)
    for rows in in_chunks(text_rows(table, guard)):
        columns = [fields(texts) for texts in zip(*rows, strict=True)]
        if is_alone:
            columns = [quote_end(columns[0])]
        stream.write(end.join(map(separator.join, zip(*columns, strict=True))) + end)


def text_rows(table: Table, guard: Callable[[str], str] | None) -> Iterable[Texts]:
    """The rows as PostgreSQL's text; the server's own rows, often very many, are that already."""
    if table.is_text and guard is None:
        return table.rows  # type: ignore[return-value]  # `is_text` promises it
    safe = guard or str
    return ([None if cell is None else safe(plain_text(cell)) for cell in row] for row in table.rows)


def csv_fields(texts: Texts) -> Sequence[str]:
    """The texts of one column as CSV fields."""
    present = [text for text in texts if text]
    if has_any(CSV_SPECIAL, "".join(present)):
        return [csv_field(text) for text in texts]
    if len(present) == len(texts):
        return present
    return ["" if text is None else text or '""' for text in texts]


def quote_end(texts: Sequence[str]) -> Sequence[str]:
    r"""The fields of an only column as COPY writes them: a line that is `\." ends its input up to PostgreSQL 17."""
    return [f'"{text}"' if text == r"\." else text for text in texts] if r"\." in texts else texts


def csv_field(text: str | None) -> str:
    """One CSV field."""
    if text is None:
        return ""
    if not text or has_any(CSV_SPECIAL, text):
        return '"' + text.replace('"', '""') + '"'
    return text


def tsv_fields(texts: Texts) -> Sequence[str]:
    """The texts of one column as fields of COPY's text format."""
    present = [text for text in texts if text is not None]
    if has_any(TSV_SPECIAL, "".join(present)):
        return [tsv_field(text) for text in texts]
    if len(present) == len(texts):
        return present
    return [r"\N" if text is None else text for text in texts]


def tsv_field(text: str | None) -> str:
    """One field of COPY's text format."""
    if text is None:
        return r"\N"
    return text.translate(TSV_ESCAPES) if has_any(TSV_SPECIAL, text) else text


def has_any(characters: str, text: str) -> bool:
    """Whether one of a few characters is in a text; far quicker than a regular expression."""
    for character in characters:  # noqa: SIM110, any() with a generator takes three times as long
        if character in text:
            return True
    return False
