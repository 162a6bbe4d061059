"""Running the SQL that pg_dump or pg_restore wrote on a session of ours, one statement a message."""

from collections.abc import Callable, Iterable, Iterator

import psycopg
from psycopg import pq

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.extended import copy_alone, execute_alone, text_encoding
from iacalls_cli.database.failures import translate
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.script import COPY_FROM, Script, StatementFilter, Syntax
from iacalls_cli.operations.backup.statement import Statement

# Whether a restore goes on after what the server said to a statement.
Pardons = Callable[[bytes, psycopg.Error], bool]
Execute = Callable[[bytes], object]


class SessionSyntax(Syntax):
    """The syntax of a live session, as the server reports it after each statement."""

    def __init__(self, connection: Connection) -> None:
        self.pgconn = connection.pgconn

    def standard_strings(self) -> bool:
        """Whether a backslash in '…' is a character like any other."""
        return self.pgconn.parameter_status(b"standard_conforming_strings") != b"off"

    def encoding(self) -> bytes:
        """The client encoding."""
        return self.pgconn.parameter_status(b"client_encoding") or b"UTF8"


def never(statement: bytes, error: psycopg.Error) -> bool:
    """Every error ends the restore."""
    return False


def run_script(
    connection: Connection,
    chunks: Iterable[bytes],
    apply: StatementFilter,
    pardons: Pardons = never,
    execute: Execute | None = None,
) -> None:
    """Run a script, each statement as the filter `apply` has it, and go on after an error that is pardoned.

    Raises `DatabaseError` naming the statement that failed, `IacallsError` where the script is cut short.
    """
    run = execute or (lambda statement: execute_alone(connection, statement))
    script = Script(chunks, SessionSyntax(connection))
    for statement in script.statements():
        wanted = apply(statement)
        if wanted is not None and b"\0" in wanted:
            raise IacallsError("the SQL holds a NUL character", "the file is damaged; restore another one")
        has_rows = COPY_FROM.fullmatch(statement) is not None
        rows = script.data() if has_rows else iter(())
        try:
            if wanted is None:
                pass
            elif has_rows:
                copy_alone(connection, wanted, rows)
            else:
                run(wanted)
        except psycopg.Error as error:
            if not pardons(statement, error):
                raise failure(error, statement, text_encoding(connection)) from error
        pass_over(rows)


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


def failure(error: psycopg.Error, statement: bytes, encoding: str = "utf-8") -> IacallsError:
    """Return the error of a statement, named by its kind and object; never with a value in it."""
    problem = translate(error)
    if isinstance(problem, DatabaseError):
        problem.message = f"{problem.message} (in: {Statement(statement, encoding)})"
    return problem
