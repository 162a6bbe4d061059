r"""Rows between COPY's text format and JSON lines, byte by byte and without loss.

A line is an array of the columns' values as PostgreSQL writes them, so that every type comes back
exactly, with null for NULL. COPY's escapes are nearly JSON's, and large pieces are turned around at
once: https://www.postgresql.org/docs/current/sql-copy.html
"""

import json
import re
from collections.abc import Sequence

# What COPY writes as it is or by an escape of its own, and JSON knows only by number.
CONTROLS = bytes([*range(1, 8), *range(14, 32)])
CONTROL = re.compile(rb"[\x01-\x07\x0e-\x1f]")
VERTICAL = re.compile(rb"\\(\\|v)")
SPECIAL = re.compile(r"[\\\t\n\r\b\f\v]")
TO_COPY = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"})


def to_json_lines(rows: bytes) -> bytes:
    r"""Whole rows of COPY's text format as JSON lines.

    >>> to_json_lines(b'\\N\t1\ta "b"\n2\tc\\\\d\t\\N\n\\v\t\\N\t\\N\n')
    b'[null,"1","a \\"b\\""]\n["2","c\\\\d",null]\n["\\u000b",null,null]\n'
    """
    if len(rows.translate(None, CONTROLS)) != len(rows):
        rows = CONTROL.sub(lambda match: b"\\u%04x" % match[0][0], rows)
    if b"\\v" in rows:
        rows = VERTICAL.sub(lambda match: b"\\u000b" if match[1] == b"v" else match[0], rows)
    body = rows[:-1].replace(b'"', b'\\"').replace(b"\t", b'","').replace(b"\n", b'"]\n["')
    # A quotation mark of the data has a backslash before it, so only NULL looks like this.
    return (b'["' + body + b'"]\n').replace(b'"\\N"', b"null")


def to_copy(line: bytes) -> bytes:
    r"""One JSON line as a row of COPY's text format.

    >>> to_copy(b'["1",null,"a\\tb"]')
    b'1\t\\N\ta\\tb\n'
    """
    values: Sequence[str | None] = json.loads(line.decode("utf-8", "surrogateescape"))
    fields = [
        "\\N" if value is None else value.translate(TO_COPY) if SPECIAL.search(value) else value for value in values
    ]
    return ("\t".join(fields) + "\n").encode("utf-8", "surrogateescape")
