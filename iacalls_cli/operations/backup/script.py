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

OPENING = re.compile(rb"""--|/\*|(?<![\w$])[eE]'|'|"|(?<![\w$])\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$""")
CLOSING = {
    b"--": re.compile(rb"\n"),
    b"'": re.compile(rb"(?:[^']|'')*'"),
    b'"': re.compile(rb'(?:[^"]|"")*"'),
    b"e'": re.compile(rb"(?:[^'\\]|\\.|'')*'", re.DOTALL),
}
COMMENT_EDGE = re.compile(rb"/\*|\*/")
COPY_FROM = re.compile(rb"COPY\s[^;]*\sFROM\s+stdin;\s*", re.IGNORECASE)
DATA_END = b"\\.\n"
PIECE_BYTES = 1 << 20
SHOWN_CHARACTERS = 80
CUT_SHORT = IacallsError("the SQL ends in the middle of a statement", "the file was cut short; restore another one")
# Returns the statement to run, perhaps another than the file's, or None to leave it out.
Rule = Callable[[bytes], bytes | None]


class Script:
    """A stream of SQL as lines, of which COPY's data are taken in large pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.rest = iter(chunks), b""
        self.lines: list[bytes] = []
        self.at = 0

    def refill(self) -> bool:
        """Read on; false at the end."""
        while True:
            chunk = next(self.chunks, None)
            if chunk is None:
                self.lines, self.rest = [self.rest] if self.rest else [], b""
                break
            *whole, self.rest = (self.rest + chunk).split(b"\n")
            if whole:
                self.lines = [line + b"\n" for line in whole]
                break
        self.at = 0
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
        statement = b""
        while line := self.line():
            if not statement:
                if line.startswith(b"\\"):
                    check_command(line)
                    continue
                if line.startswith(b"--") or not line.strip():
                    continue
            statement += line
            if line.rstrip().endswith(b";") and is_complete(statement):
                yield statement
                statement = b""
        if statement.strip():
            raise CUT_SHORT

    def data(self) -> Iterator[bytes]:
        """The rows behind a COPY, in pieces, without the line that ends them."""
        while True:
            try:
                end = self.lines.index(DATA_END, self.at)
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


def is_complete(statement: bytes) -> bool:
    """Whether every quote and comment that opens in a text closes in it.

    >>> is_complete(b"SELECT ';"), is_complete(b"SELECT ';';"), is_complete(b"AS $a$ x; $$ $a$;")
    (False, True, True)
    """
    position = 0
    while opening := OPENING.search(statement, position):
        position = end_of(statement, opening[0], opening.end())
        if not position:
            return False
    return True


def end_of(text: bytes, opening: bytes, start: int) -> int:
    """Where what opened before `start` ends; 0 where it does not."""
    if opening == b"/*":
        depth = 1
        for edge in COMMENT_EDGE.finditer(text, start):
            depth += 1 if edge[0] == b"/*" else -1
            if not depth:
                return edge.end()
        return 0
    if opening.startswith(b"$"):
        end = text.find(opening, start)
        return end + len(opening) if end >= 0 else 0
    pattern = CLOSING[opening.lower()]
    match = pattern.search(text, start) if opening == b"--" else pattern.match(text, start)
    return match.end() if match else 0


def run_script(connection: Connection, chunks: Iterable[bytes], rule: Rule) -> None:
    """Run a script on a session, each statement as `rule` has it.

    Raises `DatabaseError` with the statement that failed, `IacallsError` where the script is cut short.
    """
    script = Script(chunks)
    for statement in script.statements():
        wanted = rule(statement)
        try:
            if COPY_FROM.fullmatch(statement):
                copy_rows(connection, wanted, script.data())
            elif wanted is not None:
                connection.execute(wanted)
        except psycopg.Error as error:
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
    """The error of a statement, with its beginning."""
    problem = translate(error)
    if isinstance(problem, DatabaseError):
        shown = one_line(statement.decode("utf-8", "replace"))[:SHOWN_CHARACTERS]
        problem.message = f"{problem.message} (in: {shown})"
    return problem
