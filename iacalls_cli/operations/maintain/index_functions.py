"""Functions in indexes that find names by search_path, while VACUUM, ANALYZE and REINDEX evaluate them.

These commands run such functions as the table's owner in a restricted operation. From PostgreSQL 17
on the server sets its own search_path for that; before, they get the session's.
https://www.postgresql.org/docs/17/release-17.html
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from iacalls_cli.database.connection import SAFE_PATH, Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import UNDEFINED
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.maintain.locks import set_limit
from iacalls_cli.queries import load_query

# From this version on the server chooses the path itself.
OWN_PATH_VERSION = 170_000
# A table, type, function or schema that does not exist, by its SQLSTATE.


@contextmanager
def index_path(connection: Connection) -> Iterator[None]:
    """Have the search_path of the application's sessions for one VACUUM, ANALYZE or REINDEX.

    Nothing else may run in the session meanwhile.
    """
    if connection.info.server_version >= OWN_PATH_VERSION:
        yield
        return
    set_limit(connection, "search_path", fetch(connection, load_query("maintain/application-path"))[0]["path"])
    try:
        yield
    finally:
        with suppress(IacallsError):  # a session that is lost has no settings
            set_limit(connection, "search_path", SAFE_PATH)


def explain_missing_name(connection: Connection, table: int, error: DatabaseError) -> str:
    """The reason why an index function failed that did not find a name; '' for another error."""
    if error.sqlstate not in UNDEFINED:
        return ""
    try:
        found = fetch(connection, load_query("maintain/index-functions"), {"oid": table})
    except IacallsError:
        return ""
    if not found:
        return ""
    named = ", ".join(f"{row['function']} of {row['kind']} {row['name']}" for row in found)
    functions = dict.fromkeys(row["function"] for row in found)
    typed = "; ".join(f"ALTER FUNCTION {function} SET search_path = public, pg_temp" for function in functions)
    return f"{error.message}: the function {named} finds its names by search_path; {typed}"
