"""One statement a message, by the extended query protocol.

The server refuses a message of two statements there. With the simple protocol, which psycopg takes
for statements without parameters, it would run them all: what was looked at as one statement could
hold another one behind it.
"""

import codecs
import re
from collections.abc import Iterable
from contextlib import suppress

import psycopg
from psycopg import generators, pq

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import translate
from iacalls_cli.errors import DatabaseError, IacallsError

# libpq waits until it can queue a whole piece.
PIECE_BYTES = 1 << 20


def has_standard_strings(connection: Connection) -> bool:
    r"""Whether a backslash in '…' is a character like any other now."""
    return connection.pgconn.parameter_status(b"standard_conforming_strings") != b"off"


def execute_alone(connection: Connection, statement: bytes) -> pq.abc.PGresult:
    """Run one statement and return its result.

    Raises `DatabaseError`, also for a NUL character: the server would read no further.
    """
    if b"\0" in statement:
        raise DatabaseError("the statement holds a NUL character")
    pgconn = connection.pgconn
    pgconn.send_query_params(statement, None)
    result: pq.abc.PGresult = connection.wait(generators.execute(pgconn))[-1]
    if result.status == pq.ExecStatus.FATAL_ERROR:
        error = psycopg.errors.error_from_result(result, encoding=text_encoding(connection))
        raise translate(error) from error
    return result


def text_encoding(connection: Connection) -> str:
    """Return the client encoding by Python's name; latin-1, which reads any bytes, for one that Python lacks."""
    try:
        return connection.info.encoding
    except psycopg.NotSupportedError:
        return "latin-1"


def python_encoding(name: str) -> str:
    """Return an encoding of PostgreSQL's by Python's name; UTF-8 for one that Python lacks, and for ''."""
    words = {"SQL_ASCII": "utf-8", "": "utf-8", "UHC": "cp949", "SJIS": "shift_jis", "WIN874": "cp874"}
    known = words.get(name, re.sub(r"^WIN(\d+)$", r"cp\1", name))
    try:
        return codecs.lookup(known).name
    except LookupError:
        return "utf-8"


def copy_alone(connection: Connection, statement: bytes, rows: Iterable[bytes]) -> None:
    """Run one COPY … FROM stdin with its rows; raises `DatabaseError`, also where the statement takes no rows."""
    pgconn = connection.pgconn
    if execute_alone(connection, statement).status != pq.ExecStatus.COPY_IN:
        raise DatabaseError("the statement takes no rows")
    try:
        for piece in rows:
            for start in range(0, len(piece), PIECE_BYTES):
                connection.wait(generators.copy_to(pgconn, piece[start : start + PIECE_BYTES]))
    except BaseException:
        if pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(IacallsError):  # the very error that is asked for
                connection.wait(generators.copy_end(pgconn, b"the rows end too early"))
        raise
    connection.wait(generators.copy_end(pgconn, None))
