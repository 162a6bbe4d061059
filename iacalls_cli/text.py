"""Text that is safe to show on a terminal. This module imports nothing of ours."""

import re

# C0 and C1 controls and DEL can drive a terminal; line and paragraph separators break
# tables; bidirectional overrides make text read as something else than it is.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SHORT_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
# Not by its name: a module with such an escape loads unicodedata when it is compiled, and an interrupt
# in that moment would be a SyntaxError.
BYTE_ORDER_MARK = "\ufeff"
SIZE_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    r"""Text on one line, what could act on a terminal shown as an escape.

    >>> printable("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    return UNSAFE.sub(escape, text)


def escape(match: "re.Match[str]") -> str:
    """One unsafe character as people write it in source code."""
    character = match[0]
    if character in SHORT_ESCAPES:
        return SHORT_ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """Text of several lines joined into one printable line."""
    return printable(" ".join(text.split()))


def relation_name(schema: str, name: str) -> str:
    """A relation's name for people: with its schema, unless that is public."""
    return name if schema == "public" else f"{schema}.{name}"


def count_of(number: int, one: str, many: str = "") -> str:
    """So many of something, in words.

    >>> count_of(1, "row"), count_of(1200, "row"), count_of(0, "index", "indexes")
    ('1 row', '1,200 rows', '0 indexes')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def pretty_size(size: int) -> str:
    """Bytes for people, in PostgreSQL's units (1 kB is 1024 bytes).

    >>> pretty_size(8192), pretty_size(3_221_225_472)
    ('8.0 kB', '3.0 GB')
    """
    value, unit = float(size), SIZE_UNITS[0]
    for larger in SIZE_UNITS[1:]:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{size} bytes" if unit == SIZE_UNITS[0] else f"{value:.1f} {unit}"
