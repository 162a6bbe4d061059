r"""Reading the SQL of a dump: where each statement ends, and where the rows of a COPY end.

The rules are those of the server's own lexer (src/backend/parser/scan.l) and of psql, which adds
two: a semicolon within parentheses (the actions of a rule) or within BEGIN ATOMIC … END (the body
of a routine) ends no statement. psql's commands, lines that begin with a backslash, are never obeyed.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.sql_text import (
    BEFORE_WORD,
    BEHIND_WORD,
    COMMENT_EDGE,
    DOLLAR_TAG,
    ESCAPE,
    WIDE_CHARACTER,
    WIDE_ENCODINGS,
    close_comment,
    is_blank,
)
from iacalls_cli.text import one_line

QUOTES = rb"""--|/\*|'|"|""" + BEFORE_WORD + rb"[eE]'|" + BEFORE_WORD + rb"\$" + DOLLAR_TAG + rb"\$|[();]"
TOKEN = re.compile(QUOTES)
WORDY_TOKEN = re.compile(QUOTES + rb"|" + BEFORE_WORD + rb"(?i:begin|atomic|case|end)" + BEHIND_WORD)
# Rows as statements, by the million: no BEGIN ATOMIC is looked for in them.
ROWS = re.compile(rb"INSERT\s", re.IGNORECASE)
LINE_END = re.compile(rb"[\n\r]")
ESCAPED = re.compile(ESCAPE + rb"|'", re.DOTALL)
ESCAPED_WIDE = re.compile(WIDE_CHARACTER + rb"|" + ESCAPE + rb"|'", re.DOTALL)
COPY_FROM = re.compile(rb"\s*COPY\s.*\sFROM\s+stdin\b.*;\s*", re.IGNORECASE | re.DOTALL)
DATA_ENDS, LAST_DATA_END = (b"\\.\n", b"\\.\r\n"), b"\\."
CONNECT = ("\\connect", "\\c")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Syntax:
    """What the session says of how its text is read; a script changes it with SET while it runs."""

    def standard_strings(self) -> bool:
        """Whether a backslash in '…' is a character like any other (standard_conforming_strings)."""
        return True

    def encoding(self) -> bytes:
        """The client encoding, by PostgreSQL's name."""
        return b"UTF8"


class Scanner:
    r"""Finds the semicolon that ends a statement, line by line.

    >>> Scanner(b"").end_in(b"SELECT ';' /* ; */; SELECT 2;\n"), Scanner(b"").end_in(b"SELECT $a$;\n")
    (19, 0)
    """

    def __init__(self, first_line: bytes, syntax: Syntax | None = None) -> None:
        syntax = syntax or Syntax()
        self.token = TOKEN if ROWS.match(first_line) else WORDY_TOKEN
        self.plain_quote = b"'" if syntax.standard_strings() else b"e'"
        self.escaped = ESCAPED_WIDE if syntax.encoding() in WIDE_ENCODINGS else ESCAPED
        self.quote = b""
        self.comments = self.parentheses = self.blocks = 0
        # The last token, where only white space and comments have followed it, and whether a line ended there.
        self.before, self.has_line_end = b"", False

    def end_in(self, line: bytes) -> int:
        """Return the position behind the statement's end in its next line, 0 where it goes on."""
        position = 0
        while True:
            if self.quote:
                position = self.close(line, position)
                if not position:
                    return 0
            match = self.token.search(line, position)
            self.pass_over(line[position : match.start() if match else len(line)])
            if match is None:
                return 0
            position, token = match.end(), match[0]
            if not token.startswith(b"$"):  # whose case counts
                token = token.lower()
            if token == b";" and not self.parentheses and not self.blocks:
                return position
            self.open(token)

    def pass_over(self, gap: bytes) -> None:
        """Take account of what stands between two tokens."""
        if gap.strip():
            self.before = b""
        elif LINE_END.search(gap):
            self.has_line_end = True

    def open(self, token: bytes) -> None:
        """Take account of what opens or closes something."""
        before, is_comment = self.before, token in (b"--", b"/*")
        if not is_comment:
            self.before = b""
        if is_comment:
            self.quote, self.comments = token, 1
        elif token == b"'" and before == b"e'" and self.has_line_end:
            # A string that goes on behind a line's end goes on as it began.
            self.quote = b"e'"
        elif token == b"'":
            self.quote = self.plain_quote
        elif token == b"(":
            self.parentheses += 1
        elif token == b")":
            self.parentheses = max(self.parentheses - 1, 0)
        elif token == b"begin":
            self.before = token if not self.parentheses and not self.blocks else b""
        elif token == b"atomic":
            self.blocks += before == b"begin"
        elif token == b"case":
            self.blocks += bool(self.blocks)
        elif token == b"end":
            self.blocks = max(self.blocks - 1, 0)
        elif token != b";":
            self.quote = token

    def close(self, line: bytes, position: int) -> int:
        """Return the position behind the end of the open quote or comment in a line; 0 where that is not in it."""
        end = 0
        if self.quote == b"--":
            found = LINE_END.search(line, position)
            # The line's end is white space between two parts of a string.
            end = found.start() if found else 0
        elif self.quote == b"/*":
            end, self.comments = close_comment(COMMENT_EDGE, line, position, self.comments)
        elif self.quote == b"e'":
            end = next((match.end() for match in self.escaped.finditer(line, position) if match[0] == b"'"), 0)
            if end:
                self.before, self.has_line_end = b"e'", False
        else:
            # A doubled quote closes, and opens again at once.
            found_at = line.find(self.quote, position)
            end = found_at + len(self.quote) if found_at >= 0 else 0
        if end:
            self.quote = b""
        return end


class Script:
    """A stream of SQL as lines, of which COPY's data are taken in large pieces."""

    def __init__(
        self, chunks: Iterable[bytes], syntax: Syntax | None = None, check: "Callable[[bytes], None] | None" = None
    ) -> None:
        self.chunks = iter(chunks)
        self.syntax = syntax or Syntax()
        self.check = check or check_command
        self.rest: list[bytes] = []
        self.lines: list[bytes] = []
        self.at = 0
        # What stands behind a statement in its last line.
        self.behind = b""
        self.is_begun = False

    def refill(self) -> bool:
        """Read on; false at the end."""
        self.lines, self.at = [], 0
        for chunk in self.chunks:
            self.rest.append(chunk)
            if b"\n" in chunk:
                *whole, rest = b"".join(self.rest).split(b"\n")
                self.lines, self.rest = [line + b"\n" for line in whole], [rest] if rest else []
                break
        else:
            if self.rest:
                self.lines, self.rest = [b"".join(self.rest)], []
        if self.lines and not self.is_begun:
            self.is_begun = True
            self.lines[0] = self.lines[0].removeprefix(BYTE_ORDER_MARK)
        return bool(self.lines)

    def line(self) -> bytes:
        """Return the next line; b'' at the end."""
        if self.at == len(self.lines) and not self.refill():
            return b""
        self.at += 1
        return self.lines[self.at - 1]

    def statements(self) -> Iterator[bytes]:
        """Yield the statements, without the comments between them. Where one is a COPY, take its data before going on.

        Raises `IacallsError` where the text ends in the middle of one, and `UsageError` for a
        command of psql, which is never obeyed.
        """
        parts: list[bytes] = []
        scanner = Scanner(b"")
        while line := self.line():
            if not parts:
                if line.startswith(b"\\"):
                    self.check(line)
                    continue
                if not line.strip() or is_comment(line):
                    continue
                scanner = Scanner(line, self.syntax)
            end = scanner.end_in(line)
            if not end:
                parts.append(line)
                continue
            if rest := line[end:].lstrip():
                line, self.behind = line[:end], rest
            statement = b"".join((*parts, line))
            parts = []
            yield statement
            if self.behind:
                # Behind the rows of a COPY, as psql has it.
                self.at -= 1
                self.lines[self.at], self.behind = self.behind, b""
        if parts and not is_blank(b"".join(parts)):
            raise cut_short()

    def data(self) -> Iterator[bytes]:
        """Yield the rows behind a COPY, in pieces, without the line that ends them."""
        while True:
            if (end := self.find_data_end()) < len(self.lines):
                yield b"".join(self.lines[self.at : end])
                self.at = end + 1
                return
            yield b"".join(self.lines[self.at :])
            if not self.refill():
                raise cut_short()

    def find_data_end(self) -> int:
        """Return where in the lines at hand the rows of a COPY end; behind them where they go on."""
        places = [len(self.lines) - (self.lines[-1:] == [LAST_DATA_END])]
        for line in DATA_ENDS:
            with suppress(ValueError):
                places.append(self.lines.index(line, self.at))
        return min(places)


def cut_short() -> IacallsError:
    """Return the error for a script that ends in the middle of a statement or of rows."""
    return IacallsError("the SQL ends in the middle of a statement", "the file was cut short; restore another one")


def is_comment(line: bytes) -> bool:
    """Whether a line is one comment to its end; a carriage return ends a comment too."""
    return line.startswith(b"--") and b"\r" not in line.rstrip(b"\r\n")


def check_command(line: bytes) -> None:
    r"""Raise `UsageError` for a command of psql other than those that only restrict it."""
    if not line.startswith((b"\\restrict ", b"\\unrestrict ")):
        words = line.decode("utf-8", "replace").split()[:2]
        # A connection string or a variable may hold a password.
        is_name = len(words) > 1 and words[0] in CONNECT and not re.search("[='\":/]", words[1])
        shown = one_line(" ".join(words) if is_name else words[0])
        raise UsageError(
            f"the file holds a command for psql: {shown}",
            "iacalls runs the SQL of a dump of one database, and no commands; psql runs the file as it is",
        )


# Returns the statement to run, perhaps another than the file's, or None to leave it out.
StatementFilter = Callable[[bytes], bytes | None]
