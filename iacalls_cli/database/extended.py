"""One statement a message, by the extended query protocol.

The server refuses a message of two statements there. With the simple protocol, which psycopg takes
for statements without parameters, it would run them all: what was looked at as one statement could
hold another one behind it.
"""

from collections.abc import Iterable
from contextlib import suppress

import psycopg
from psycopg import generators, pq

from iacalls_cli.database.connection import Connection

# libpq waits until it can queue a whole piece.
PIECE_BYTES = 1 << 20


def execute_alone(connection: Connection, statement: bytes) -> pq.abc.PGresult:
    """Run one statement and return its result; psycopg's errors come out as they are."""
    pgconn = connection.pgconn
    pgconn.send_query_params(statement, None)
    result: pq.abc.PGresult = connection.wait(generators.execute(pgconn))[-1]
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise psycopg.errors.error_from_result(result, encoding=text_encoding(connection))
    return result


def text_encoding(connection: Connection) -> str:
    """Return the client encoding by Python's name; latin-1, which reads any bytes, for one that Python lacks."""
    try:
        return connection.info.encoding
    except psycopg.NotSupportedError:
        return "latin-1"


def copy_alone(connection: Connection, statement: bytes, rows: Iterable[bytes]) -> None:
    """Run one COPY … FROM stdin with its rows; psycopg's errors come out as they are.

    Raises `psycopg.ProgrammingError` where the statement takes no rows.
    """
    pgconn = connection.pgconn
    if execute_alone(connection, statement).status != pq.ExecStatus.COPY_IN:
        raise psycopg.ProgrammingError("the statement takes no rows")
    try:
        for piece in rows:
            for start in range(0, len(piece), PIECE_BYTES):
                connection.wait(generators.copy_to(pgconn, piece[start : start + PIECE_BYTES]))
    except BaseException:
        if pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            with suppress(psycopg.Error):  # the very error that is asked for
                connection.wait(generators.copy_end(pgconn, b"the rows end too early"))
        raise
    connection.wait(generators.copy_end(pgconn, None))
