"""SQL text, read by the rules of PostgreSQL's own lexer (src/backend/parser/scan.l).

Each lexical element is defined here once, as a pattern for bytes; `as_text` makes the same one for str.
`read_tokens` reads the statements of dumps, `scan` the SQL files with their `:name` placeholders. The scanner of
dumps (operations/backup/script.py) has a loop of its own of these elements: it reads a stream line by line, so a
string or comment may begin in one piece and end in another, which no single pattern can match.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import AnyStr

# Every byte of a character outside ASCII may be part of a word.
BEFORE_WORD, BEHIND_WORD = rb"(?<![\w$\x80-\xff])", rb"(?![\w$\x80-\xff])"
LINE_COMMENT = rb"--[^\n\r]*"
QUOTED_NAME = rb'"(?:[^"]|"")+"'
PLAIN_STRING = rb"'(?:[^']++|'')*+'"
# What a string with escapes has inside besides ordinary characters.
ESCAPE = rb"\\.|''"
# In these encodings, by PostgreSQL's names with Python's, the second byte of a character may be a backslash
# (PostgreSQL: "client-only encodings"), which then escapes nothing.
WIDE_ENCODINGS = {
    b"SJIS": "shift_jis",
    b"SHIFT_JIS_2004": "shift_jis_2004",
    b"BIG5": "big5",
    b"GBK": "gbk",
    b"UHC": "cp949",
    b"GB18030": "gb18030",
    b"JOHAB": "johab",
}
WIDE_CHARACTER = rb"[\x80-\xff]."
# A string that goes on behind a line's end.
CONTINUED = rb"'(?:[ \t\f\v]*(?:--[^\n\r]*)?[\n\r])+[ \t\f\v]*'"
DOLLAR_TAG = rb"(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?"
DOLLAR_STRING = rb"\$(?P<tag>" + DOLLAR_TAG + rb")\$.*?\$(?P=tag)\$"
COMMENT_EDGE = re.compile(rb"(?P<opens>/\*)|\*/")
TEXT_COMMENT_EDGE = re.compile(r"(?P<opens>/\*)|\*/")


def as_text(pattern: bytes) -> str:
    """Return a pattern for bytes as one for str, where every character outside ASCII is what its bytes were."""
    return pattern.decode("ascii").replace(r"\xff", r"\U0010ffff")


def escaped_string(is_wide: bool) -> bytes:
    """Return the pattern of a string in which a backslash escapes, without the E before it."""
    wide, other = (WIDE_CHARACTER + rb"|", rb"\x80-\xff") if is_wide else (b"", b"")
    return rb"'(?:[^'\\" + other + rb"]++|" + wide + ESCAPE + rb"|" + CONTINUED + rb")*+'"


def close_comment(edges: re.Pattern[AnyStr], text: AnyStr, position: int, depth: int = 1) -> tuple[int, int]:
    """Return where an open block comment ends, and 0; 0 and its depth where it goes on. Block comments nest."""
    for edge in edges.finditer(text, position):
        depth += 1 if edge["opens"] else -1
        if not depth:
            return edge.end(), 0
    return 0, depth


def string_pattern(standard_strings: bool, is_wide: bool) -> bytes:
    r"""Return the pattern of a constant in single quotes, by how the session reads backslashes and characters.

    >>> [bool(re.fullmatch(string_pattern(standard, False), rb"'\'")) for standard in (True, False)]
    [True, False]
    """
    escaped = escaped_string(is_wide)
    unmarked = PLAIN_STRING if standard_strings else escaped
    return rb"[eE]" + escaped + rb"|[nN]?" + unmarked + rb"|[bBxX]" + PLAIN_STRING


@cache
def token_pattern(standard_strings: bool, is_wide: bool) -> re.Pattern[bytes]:
    """Return the pattern of a token, by how the session reads backslashes and characters."""
    character = rb"[\x80-\xff].?" if is_wide else rb"[\x80-\xff]"
    return re.compile(
        rb"""
          (?P<space>[ \t\n\r\f\v]+ | """ + LINE_COMMENT + rb""")
        | (?P<comment>/\*)
        | (?P<string>""" + string_pattern(standard_strings, is_wide) + rb"""
                     | [uU]&""" + PLAIN_STRING + rb"""
                     | """ + DOLLAR_STRING + rb""")
        | (?P<quoted>(?:[uU]&)?""" + QUOTED_NAME + rb""")
        | (?P<word>(?:[A-Za-z_]|""" + character + rb""")(?:[\w$]|""" + character + rb""")*)
        | (?P<number>[0-9]+)
        | (?P<other>.)
        """,
        re.VERBOSE | re.DOTALL,
    )  # fmt: skip


@dataclass(frozen=True)
class Token:
    """A token: kind is word, quoted, string, number or other. `word` is an unquoted word in capitals, or ''."""

    kind: str
    text: bytes
    end: int

    @property
    def word(self) -> str:
        """An unquoted word in capitals; '' for anything else."""
        return self.text.decode("ascii", "replace").upper() if self.kind == "word" else ""


def read_tokens(text: bytes, standard_strings: bool = True, is_wide: bool = False) -> Iterator[Token]:
    """Yield the tokens of SQL, without white space and comments."""
    pattern = token_pattern(standard_strings, is_wide)
    position = 0
    while match := pattern.match(text, position):
        position = match.end()
        if match["comment"]:
            position, depth = close_comment(COMMENT_EDGE, text, position)
            if depth:
                yield Token("other", match[0], len(text))
                return
        elif not match["space"]:
            kind = next(name for name in ("string", "quoted", "word", "number", "other") if match[name] is not None)
            yield Token(kind, match[0], position)


def is_blank(text: bytes) -> bool:
    """Whether SQL text holds nothing but white space and comments."""
    return next(read_tokens(text), None) is None


def unquote(name: bytes, encoding: str = "utf-8") -> str:
    """Return an identifier as it is meant: unquoted ones in lower case."""
    text = name.decode(encoding, "replace")
    if text[:2].lower() == "u&":
        text = text[2:]
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()


# What may hold a colon or a semicolon that means nothing: comments, strings, quoted
# identifiers, dollar quotes, casts. A placeholder never follows a word, a bracket or
# another colon, so array slices like a[lo:hi] are left alone.
TEXT_TOKEN = re.compile(
    as_text(
        rb"""
      (?P<line_comment>""" + LINE_COMMENT + rb""")
    | (?P<block_comment>/\*)
    | (?P<string>""" + BEFORE_WORD + rb"[eE]" + escaped_string(is_wide=False) + rb"|" + PLAIN_STRING + rb""")
    | (?P<identifier>""" + QUOTED_NAME + rb"""|"")
    | (?P<dollar>""" + BEFORE_WORD + DOLLAR_STRING + rb""")
    | (?P<cast>::|:=)
    | (?P<placeholder>(?<![\w\])]):(?P<name>[A-Za-z_]\w*))
    | (?P<foreign>(?<![\w$])\$\d+ | [$\#]?\{[^}\n]*\}* | (?<![\w\])\[:"']):'[A-Za-z_]\w*')
    | (?P<semicolon>;)
    """
    ),
    re.VERBOSE | re.DOTALL,
)  # fmt: skip
WORD = re.compile(r"[A-Za-z]+")


def scan(text: str) -> Iterator[tuple[str, str]]:
    """Cut SQL text into (kind, piece) pairs that join to the same text again.

    Kinds: `placeholder`, `semicolon`, `comment`, `foreign` for placeholders of other tools (`$1`,
    `{{name}}`, `:'name'`), and `text` for everything else.

    >>> list(scan("SELECT :a::int"))
    [('text', 'SELECT '), ('placeholder', ':a'), ('text', '::'), ('text', 'int')]
    """
    position = 0
    while match := TEXT_TOKEN.search(text, position):
        if match.start() > position:
            yield "text", text[position : match.start()]
        end = match.end()
        kind = match.lastgroup
        if match["block_comment"]:
            end = close_comment(TEXT_COMMENT_EDGE, text, end)[0] or len(text)
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
