r"""Running the SQL that pg_dump or pg_restore wrote, one statement at a time, on a session of ours.

psql would obey whatever stands behind a backslash in it, and needs to know the newest of those
(`\restrict`). Here statements are seen one by one: what a server does not know, or a role is
missing for, can be left out and named, and nothing in a file ever runs as a command.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import psycopg

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import translate
from iacalls_cli.errors import DatabaseError, IacallsError, UsageError
from iacalls_cli.text import one_line

BEFORE_WORD, BEHIND_WORD = rb"(?<![\w$\x80-\xff])", rb"(?![\w$\x80-\xff])"
QUOTES = (
    rb"""--|/\*|'|"|""" + BEFORE_WORD + rb"[eE]'|" + BEFORE_WORD + rb"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$|[();]"
)
TOKEN = re.compile(QUOTES)
ROUTINE_TOKEN = re.compile(QUOTES + rb"|" + BEFORE_WORD + rb"(?i:begin|case|end)" + BEHIND_WORD)
ROUTINE = re.compile(rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s", re.IGNORECASE)
COMMENT_EDGE = re.compile(rb"/\*|\*/")
ESCAPED = re.compile(rb"\\.|''|'", re.DOTALL)
COPY_FROM = re.compile(rb"COPY\s.*\sFROM\s+stdin;\s*", re.IGNORECASE | re.DOTALL)
ROWS = re.compile(rb"(INSERT INTO .*?) VALUES\s*\(.*", re.DOTALL)
DATA_END, DATA_END_CRLF = b"\\.\n", b"\\.\r\n"
SHOWN_CHARACTERS = 80
CUT_SHORT = IacallsError("the SQL ends in the middle of a statement", "the file was cut short; restore another one")
# Returns the statement to run, perhaps another than the file's, or None to leave it out.
Rule = Callable[[bytes], bytes | None]
# Whether a restore goes on after what the server said to a statement.
Pardon = Callable[[bytes, psycopg.Error], bool]


class Scanner:
    r"""Finds the semicolon that ends a statement, line by line, by the rules of psql's own reader.

    One within quotes, comments, parentheses (a rule's) or BEGIN ATOMIC … END (a routine's) ends nothing.

    >>> Scanner(b"").end_in(b"SELECT ';' /* ; */; SELECT 2;\n"), Scanner(b"").end_in(b"SELECT $a$;\n")
    (19, 0)
    """

    def __init__(self, first_line: bytes) -> None:
        self.token = ROUTINE_TOKEN if ROUTINE.match(first_line) else TOKEN
        self.quote = b""
        self.comments = self.parentheses = self.blocks = 0

    def end_in(self, line: bytes) -> int:
        """The place behind the statement's end in its next line; 0 where it goes on."""
        position = 0
        while True:
            if self.quote:
                position = self.close(line, position)
                if not position:
                    return 0
            match = self.token.search(line, position)
            if match is None or match[0] == b"--":
                return 0
            position, token = match.end(), match[0]
            if not token.startswith(b"$"):  # whose case counts
                token = token.lower()
            if token == b";" and not self.parentheses and not self.blocks:
                return position
            self.open(token)

    def open(self, token: bytes) -> None:
        """Take account of what opens or closes something."""
        if token == b"(":
            self.parentheses += 1
        elif token == b")":
            self.parentheses = max(self.parentheses - 1, 0)
        elif token == b"begin" or (token == b"case" and self.blocks):
            self.blocks += 1
        elif token == b"end":
            self.blocks = max(self.blocks - 1, 0)
        elif token not in (b";", b"case"):
            self.quote = token
            self.comments = 1

    def close(self, line: bytes, position: int) -> int:
        """The place behind the end of the open quote or comment in a line; 0 where that is not in it."""
        end = 0
        if self.quote == b"/*":
            for edge in COMMENT_EDGE.finditer(line, position):
                self.comments += 1 if edge[0] == b"/*" else -1
                if not self.comments:
                    end = edge.end()
                    break
        elif self.quote == b"e'":
            end = next((match.end() for match in ESCAPED.finditer(line, position) if match[0] == b"'"), 0)
        else:
            # A doubled quote closes, and opens again at once.
            found = line.find(self.quote, position)
            end = found + len(self.quote) if found >= 0 else 0
        if end:
            self.quote = b""
        return end


class Script:
    """A stream of SQL as lines, of which COPY's data are taken in large pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.rest: list[bytes] = []
        self.lines: list[bytes] = []
        self.at = 0
        self.data_end = DATA_END

    def refill(self) -> bool:
        """Read on; false at the end."""
        self.lines, self.at = [], 0
        for chunk in self.chunks:
            self.rest.append(chunk)
            if b"\n" in chunk:
                *whole, rest = b"".join(self.rest).split(b"\n")
                self.lines, self.rest = [line + b"\n" for line in whole], [rest] if rest else []
                return True
        if self.rest:
            self.lines, self.rest = [b"".join(self.rest)], []
        return bool(self.lines)

    def line(self) -> bytes:
        """The next line; b'' at the end."""
        if self.at == len(self.lines) and not self.refill():
            return b""
        self.at += 1
        return self.lines[self.at - 1]

    def statements(self) -> Iterator[bytes]:
        """The statements, without the comments between them. Where one is a COPY, take its data before going on.

        Raises `IacallsError` where the text ends in the middle of one, and `UsageError` for a
        command of psql, which is never obeyed.
        """
        parts: list[bytes] = []
        scanner = Scanner(b"")
        while line := self.line():
            if not parts:
                if line.startswith(b"\\"):
                    check_command(line)
                    continue
                if line.startswith(b"--") or not line.strip():
                    continue
                scanner = Scanner(line)
            end = scanner.end_in(line)
            if not end:
                parts.append(line)
                continue
            if rest := line[end:].lstrip():
                self.at -= 1
                self.lines[self.at] = rest
                line = line[:end]
            statement = b"".join((*parts, line))
            parts = []
            self.data_end = DATA_END if not statement.endswith(b"\r\n") else DATA_END_CRLF
            yield statement
        if parts:
            raise CUT_SHORT

    def data(self) -> Iterator[bytes]:
        """The rows behind a COPY, in pieces, without the line that ends them."""
        while True:
            try:
                end = self.lines.index(self.data_end, self.at)
            except ValueError:
                yield b"".join(self.lines[self.at :])
                if not self.refill():
                    raise CUT_SHORT from None
                continue
            yield b"".join(self.lines[self.at : end])
            self.at = end + 1
            return


def check_command(line: bytes) -> None:
    r"""Raise `UsageError` for a command of psql other than those that only restrict it."""
    if not line.startswith((b"\\restrict ", b"\\unrestrict ")):
        shown = one_line(line.decode("utf-8", "replace"))
        raise UsageError(
            f"the file holds a command for psql: {shown}",
            "make the dump without --create; iacalls runs the SQL of a dump and no commands",
        )


def never(statement: bytes, error: psycopg.Error) -> bool:
    """Every error ends the restore."""
    return False


def run_script(connection: Connection, chunks: Iterable[bytes], rule: Rule, pardons: Pardon = never) -> None:
    """Run a script on a session, each statement as `rule` has it, and go on after an error that is pardoned.

    Raises `DatabaseError` with the statement that failed, `IacallsError` where the script is cut short.
    """
    script = Script(chunks)
    for statement in script.statements():
        wanted = rule(statement)
        try:
            if COPY_FROM.fullmatch(statement):
                copy_rows(connection, wanted, script.data())
            elif wanted is not None:
                # Not prepared, however often the same one comes: it may be one that cannot be.
                connection.execute(wanted, prepare=False)
        except psycopg.Error as error:
            if not pardons(statement, error):
                raise failure(error, statement) from error


def copy_rows(connection: Connection, statement: bytes | None, rows: Iterator[bytes]) -> None:
    """Send the rows to the server, or pass over them where there is no statement for them."""
    if statement is None:
        for _ in rows:
            pass
        return
    with connection.cursor().copy(statement) as copy:
        for piece in rows:
            copy.write(piece)


def failure(error: psycopg.Error, statement: bytes) -> IacallsError:
    """The error of a statement, with its beginning; never with the values of a row, a hash for one."""
    problem = translate(error)
    if isinstance(problem, DatabaseError):
        if rows := ROWS.fullmatch(statement):
            statement = rows[1]
        shown = one_line(statement.decode("utf-8", "replace"))[:SHOWN_CHARACTERS]
        problem.message = f"{problem.message} (in: {shown})"
    return problem
