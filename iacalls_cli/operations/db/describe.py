"""`db describe`: one table or view, with all that hangs on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch, stream
from iacalls_cli.errors import DatabaseError
from iacalls_cli.queries import load_query
from iacalls_cli.table import Table


@dataclass(frozen=True)
class Description:
    """A table or view: what it is, its columns, and what hangs on it by kind."""

    relation: Mapping[str, Any]
    columns: Table
    parts: Mapping[str, Table]


PARTS = {
    "constraints": "Keys and checks",
    "referenced_by": "Referenced by",
    "indexes": "Indexes",
    "triggers": "Triggers",
}


def describe_relation(connection: Connection, name: str) -> Description:
    """Describe a table or view of schema public, or of another one named with a dot.

    Raises `DatabaseError` when there is none of that name, naming similar ones.
    """
    found = fetch(connection, load_query("db/find-relation"), {"name": name})
    if not found:
        known = [row["name"] for row in fetch(connection, load_query("db/relations"))]
        near = get_close_matches(name, known)
        raise DatabaseError(
            f"there is no table or view {name} in this database",
            f"did you mean {' or '.join(near)}?" if near else "`iacalls db tables` lists them",
        )
    oid = {"oid": found[0].pop("oid")}
    columns = read(connection, "columns", oid)
    parts = {key: read(connection, key.replace("_", "-"), oid, title) for key, title in PARTS.items()}
    return Description(found[0], columns, parts)


def read(connection: Connection, name: str, values: Mapping[str, Any], title: str = "") -> Table:
    """One of the describing queries, read to its end."""
    table = stream(connection, load_query(f"db/{name}"), values)
    return Table(table.columns, list(table.rows), title)
