"""Reading SQL text far enough to find its `:name` placeholders and where statements end."""

import re
from collections.abc import Iterator

# What may hold a colon or a semicolon that means nothing: comments, strings, quoted
# identifiers, dollar quotes, casts. A placeholder never follows a word, a bracket or
# another colon, so array slices like a[lo:hi] are left alone.
TOKEN = re.compile(
    r"""
      (?P<line_comment>--[^\n]*)
    | (?P<block_comment>/\*)
    | (?P<escape_string>(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<identifier>"(?:[^"]|"")*")
    | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    | (?P<cast>::|:=)
    | (?P<placeholder>(?<![\w\])]):(?P<name>[A-Za-z_]\w*))
    | (?P<foreign>(?<![\w$])\$\d+ | [$\#]?\{[^}\n]*\}* | (?<![\w\])\[:"']):'[A-Za-z_]\w*')
    | (?P<semicolon>;)
    """,
    re.VERBOSE | re.DOTALL,
)
WORD = re.compile(r"[A-Za-z]+")
BLOCK_EDGE = re.compile(r"/\*|\*/")


def scan(text: str) -> Iterator[tuple[str, str]]:
    """Cut SQL text into (kind, piece) pairs that join to the same text again.

    Kinds: `placeholder`, `semicolon`, `comment`, `foreign` for placeholders of other tools (`$1`,
    `{{name}}`, `:'name'`), and `text` for everything else.

    >>> list(scan("SELECT :a::int"))
    [('text', 'SELECT '), ('placeholder', ':a'), ('text', '::'), ('text', 'int')]
    """
    position = 0
    while match := TOKEN.search(text, position):
        if match.start() > position:
            yield "text", text[position : match.start()]
        end = match.end()
        kind = match.lastgroup
        if match["block_comment"]:
            end = end_of_block_comment(text, end)
            kind = "comment"
        elif match["line_comment"] is not None:
            kind = "comment"
        elif match["placeholder"]:
            kind = "placeholder"
        elif kind not in ("semicolon", "foreign"):
            kind = "text"
        yield kind, text[match.start() : end]
        position = end
    if position < len(text):
        yield "text", text[position:]


def end_of_block_comment(text: str, position: int) -> int:
    """Where the block comment that opened before `position` ends; block comments nest."""
    depth = 1
    while depth and (edge := BLOCK_EDGE.search(text, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return position if not depth else len(text)


def find_placeholders(text: str) -> tuple[str, ...]:
    """The names of the placeholders in SQL text, each once, in order of first use.

    >>> find_placeholders("SELECT ':no', a::int FROM t WHERE b = :yes -- :no")
    ('yes',)
    """
    names = [piece[1:] for kind, piece in scan(text) if kind == "placeholder"]
    return tuple(dict.fromkeys(names))


def find_foreign(text: str) -> Iterator[tuple[int, str]]:
    r"""Placeholders that only other tools know, with their lines.

    >>> list(find_foreign("SELECT :a,\n  $1, '$2'"))
    [(2, '$1')]
    """
    line = 1
    for kind, piece in scan(text):
        if kind == "foreign":
            yield line, piece
        line += piece.count("\n")


def find_statements(text: str) -> list[tuple[int, str]]:
    r"""The statements of SQL text: the line where each begins, and its first word.

    >>> find_statements("SELECT 1;\nSET x = 1; -- done;")
    [(1, 'SELECT'), (2, 'SET')]
    """
    found: list[tuple[int, str]] = []
    line, is_open = 1, False
    for kind, piece in scan(text):
        if kind == "semicolon":
            is_open = False
        elif kind != "comment" and piece.strip() and not is_open:
            is_open = True
            lines_before = piece[: len(piece) - len(piece.lstrip())].count("\n")
            word = WORD.match(piece.lstrip())
            found.append((line + lines_before, word[0].upper() if word else ""))
        line += piece.count("\n")
    return found


def to_positional(text: str, types: dict[str, str]) -> str:
    """SQL text with PostgreSQL's own `$1` placeholders, numbered in the order of `types`.

    Each is cast to its declared type: the server then knows the type of a NULL, and takes
    text for a date. Semicolons go: what is left is one statement.

    >>> to_positional("SELECT '5%' LIMIT :n", {"n": "integer"})
    "SELECT '5%' LIMIT $1::integer"
    """
    numbers = {name: number for number, name in enumerate(types, 1)}
    pieces = []
    for kind, piece in scan(text):
        if kind == "placeholder":
            name = piece[1:]
            pieces.append(f"${numbers[name]}::{types[name]}")
        elif kind != "semicolon":
            pieces.append(piece)
    return "".join(pieces)
