"""Running the SQL that pg_dump or pg_restore wrote on a session of ours, one statement a message."""

import re
from collections.abc import Callable, Iterable, Iterator

import psycopg
from psycopg import pq

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.extended import copy_alone, execute_alone, has_standard_strings, text_encoding
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.forms import is_copy_from_stdin, names_of
from iacalls_cli.operations.backup.script import Script, StatementFilter, Syntax
from iacalls_cli.operations.backup.statement import Statement

# Whether a restore goes on after what the server said to a statement.
Pardons = Callable[[bytes, DatabaseError], bool]
Execute = Callable[[bytes], object]
# What the server quotes in its messages: names, and values that it cannot read.
QUOTED = re.compile(r'"([^"]*(?:""[^"]*)*)"', re.DOTALL)
ENCODINGS = ("UTF8", "SQL_ASCII")


class SessionSyntax(Syntax):
    """The syntax of a live session, as the server reports it after each statement."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.pgconn = connection, connection.pgconn

    def standard_strings(self) -> bool:
        """Whether a backslash in '…' is a character like any other."""
        return has_standard_strings(self.connection)

    def encoding(self) -> bytes:
        """The client encoding."""
        return self.pgconn.parameter_status(b"client_encoding") or b"UTF8"


def never(statement: bytes, error: DatabaseError) -> bool:
    """Every error ends the restore."""
    return False


def run_script(
    connection: Connection,
    chunks: Iterable[bytes],
    apply: StatementFilter,
    pardons: Pardons = never,
    execute: Execute | None = None,
    check: Callable[[bytes], None] | None = None,
) -> None:
    """Run a script, each statement as the filter `apply` has it, and go on after an error that is pardoned.

    `check` raises for a command of psql in it that is not to be passed over.

    Raises `DatabaseError` naming the statement that failed, `IacallsError` where the script is cut short.
    """
    run = execute or (lambda statement: execute_alone(connection, statement))
    script = Script(chunks, SessionSyntax(connection), check)
    for statement in script.statements():
        if b"\0" in statement:
            # The server reads to there, and would run another statement than the filter saw.
            raise IacallsError("the SQL holds a NUL character", "the file is damaged; restore another one")
        wanted = apply(statement)
        has_rows = is_copy(connection, statement)
        rows = script.data() if has_rows else iter(())
        try:
            if wanted is None:
                pass
            elif has_rows:
                copy_alone(connection, wanted, rows)
            else:
                run(wanted)
        except DatabaseError as error:
            if not pardons(statement, error):
                raise failure(error, read_statement(connection, statement)) from error
        pass_over(rows)
    if not is_readable(connection):
        execute_alone(connection, b"SET client_encoding = 'UTF8'")


def is_readable(connection: Connection) -> bool:
    """Whether psycopg can read text in the encoding that a script has left behind."""
    try:
        return connection.info.encoding != "ascii"  # SQL_ASCII, whose text comes as bytes
    except psycopg.NotSupportedError:
        return False


def pass_over(rows: Iterator[bytes]) -> None:
    """Read the rows that nobody took: of a table that was left out, or refused."""
    for _ in rows:
        pass


def require_idle(connection: Connection) -> None:
    """Raise `IacallsError` where a script has left a transaction open: what it did would be lost."""
    if connection.info.transaction_status != pq.TransactionStatus.IDLE:
        raise IacallsError(
            "the SQL begins a transaction and does not end it: nothing of it would stay",
            "is the file whole? Restore another one",
        )


def read_statement(connection: Connection, text: bytes) -> Statement:
    """Return a statement, read as the session reads its text now."""
    return Statement(text, text_encoding(connection), standard_strings=has_standard_strings(connection))


def is_copy(connection: Connection, text: bytes) -> bool:
    """Whether rows of the script belong to a statement."""
    statement = read_statement(connection, text)
    return statement.command == "COPY" and is_copy_from_stdin(statement)


def failure(error: DatabaseError, statement: Statement) -> DatabaseError:
    """Return the error of a statement, named by its kind and object; never with a value in it."""
    message = f"{without_values(error.message, statement)} (in: {statement})"
    return DatabaseError(message, without_values(error.hint, statement), error.sqlstate)


def error_words(error: DatabaseError, statement: Statement) -> str:
    """Return what the server says of an error of a statement, never with a value in it."""
    cause = error.__cause__
    words = cause.diag.message_primary if isinstance(cause, psycopg.Error) else ""
    return without_values(words or error.message, statement)


def without_values(message: str, statement: Statement) -> str:
    """Return a server's message without what it quotes of a statement's own texts or of rows: it may be a password.

    Names that the statement itself has outside of quoted text stay.
    """
    names = names_of(statement)
    texts = [statement.decode(token.text) for token in statement.tokens() if token.kind == "string"]

    def shown(match: re.Match[str]) -> str:
        quoted = match[1]
        is_row = statement.command in ("COPY", "INSERT") and quoted not in ENCODINGS
        is_value = is_row or any(quoted in text for text in texts)
        # "schema.name", name
        is_name = quoted in names or all(part.strip('"') in names for part in quoted.split("."))
        return match[0] if is_name or not is_value else '"…"'

    return QUOTED.sub(shown, message)
