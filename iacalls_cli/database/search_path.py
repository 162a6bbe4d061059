"""The search_path that the application has, for statements in which its own functions run.

Our sessions look names up in pg_catalog alone. Triggers, generated columns, CHECK constraints and
indexes may call functions that find tables and functions by the path of the database or role, as
the application's own sessions do. Within such a block every operator and function of our own
statement must be written with its schema (`OPERATOR(pg_catalog.=)`): somebody else's may stand in
the path (CVE-2018-1058).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from iacalls_cli.database.connection import SAFE_PATH, Connection

# What the session had before iacalls set it: from the server, the database, the role or PGOPTIONS.
# Temporary relations come last in it, where it does not name them itself.
APPLICATION_PATH = """SELECT pg_catalog.set_config('search_path',
       CASE WHEN reset_val OPERATOR(pg_catalog.=) '' THEN 'pg_temp'
            WHEN reset_val OPERATOR(pg_catalog.~) '\\mpg_temp\\M' THEN reset_val
            ELSE reset_val OPERATOR(pg_catalog.||) ', pg_temp' END, true)
  FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"""


@contextmanager
def application_path(connection: Connection) -> Iterator[None]:
    """Have the application's search_path until the end of the block; within a transaction only.

    psycopg's errors come out as they are.
    """
    connection.execute(APPLICATION_PATH)
    yield
    connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", [SAFE_PATH])
