"""Functions of a database that keep its dump from being restored: they find names by search_path.

pg_dump restores with an empty search_path (CVE-2018-1058). What a generated column, a CHECK
constraint, an index or a materialized view calls then finds neither tables nor functions that it
names without their schema, and the restore fails, with pg_restore and psql as well.
"""

from dataclasses import dataclass

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import UNDEFINED
from iacalls_cli.errors import DatabaseError
from iacalls_cli.queries import load_query


@dataclass(frozen=True)
class PathFunction:
    """A function that finds names by search_path, and what calls it while rows are restored."""

    name: str
    used_by: str

    def __str__(self) -> str:
        return f"{self.name} ({self.used_by})"


def find_path_functions(connection: Connection) -> list[PathFunction]:
    """Return the functions that will fail while the database's dump is restored; none of them is run.

    For a function in SQL the server itself looks its names up; for another language its text is
    looked at, so that one may be missing here or be named in vain.
    """
    return [
        PathFunction(row["function"], row["used_by"])
        for row in fetch(connection, load_query("backup/restoring-functions"))
        if (has_unknown_names(connection, row["oid"]) if row["is_sql"] else row["is_suspect"])
    ]


def has_unknown_names(connection: Connection, function: int) -> bool:
    """Whether a function in SQL names something that is not in our own search_path."""
    try:
        with connection.transaction():
            connection.execute("SELECT pg_catalog.fmgr_sql_validator(%s)", [function])
    except DatabaseError as error:
        return error.sqlstate in UNDEFINED
    return False
