"""What stands against mending a difference: rows, and objects that depend on what has to change.

It is asked before the script is written, so that the script leaves such a statement as a comment instead of
failing on it. What cannot be asked (a missing privilege, row security, functions of another role in an index) is
taken to be no obstacle.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.catalog import Catalogue, ObjectKey
from iacalls_cli.operations.db.compare import Difference
from iacalls_cli.operations.db.row_count import plans_foreign_code, raise_if_unavoidable, select_count
from iacalls_cli.operations.db.statements import is_view, views_reading
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

COLUMNS = re.compile(r"\((.*?)\)")
REFERENCE = re.compile(
    r"FOREIGN KEY \((?P<columns>.*?)\) REFERENCES (?:public\.)?(?P<table>\".*?\"|\w+)\((?P<keys>.*?)\)"
)
NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")


def find_obstacles(connection: Connection, differences: Iterable[Difference], found: Catalogue) -> list[Difference]:
    """Return the differences, each with what stands against mending it; only reads.

    Raises `IacallsError` for cancellations, lock time-outs and lost connections.
    """
    known = list(differences)
    return [obstructed(connection, one, found) if one.verdict == "problem" else one for one in known]


def obstructed(connection: Connection, one: Difference, found: Catalogue) -> Difference:
    """Return one problem with what stands against mending it."""
    key = one.key
    if is_view(key.relation):
        is_dropped = key.kind == "column" and not one.instead
        return replace(one, obstacle=dependents_of(connection, key.relation, None)) if is_dropped else one
    if key.kind == "column" and one.found is not None:
        forbidding = tuple(forbidding_keys(one, found)) if changes_category(one) else ()
        return replace(one, forbidding=forbidding, obstacle=against_new_type(connection, one, found))
    return replace(one, obstacle=against_rows(connection, one) or against_drop(one, found))


def against_rows(connection: Connection, one: Difference) -> str:
    """Return how many rows break a key, check or NOT NULL that has to be added, or ''."""
    key, expected = one.key, one.expected or ""
    table, column = sql.Identifier("public", key.relation), sql.Identifier(key.name)
    match key.kind:
        case "primary key" | "unique" if not one.instead or (one.is_index and key.kind == "primary key"):
            # The server's own text, of the bundled catalogue.
            columns = (COLUMNS.search(expected) or ["", ""])[1]
            duplicates = sql.SQL(
                "SELECT count(*) FROM (SELECT FROM {} WHERE num_nulls({cols}) = 0 GROUP BY {cols}"
                " HAVING count(*) > 1) AS duplicate"
            ).format(table, cols=sql.SQL(columns))
            if number := count(connection, key.relation, duplicates):
                return f"{number} values of ({columns}) occur more than once"
            nulls = sql.SQL("SELECT count(*) FROM {} WHERE num_nulls({}) > 0").format(table, sql.SQL(columns))
            if key.kind == "primary key" and (number := count(connection, key.relation, nulls)):
                return f"{number} rows have no ({columns})"
        case "not null" | "unvalidated not null" if expected or key.kind != "not null":
            nulls = sql.SQL("SELECT count(*) FROM {} WHERE {} IS NULL").format(table, column)
            if number := count(connection, key.relation, nulls):
                return f"{number} rows have NULL"
        case "check" if not one.instead:
            condition = sql.SQL(expected.removeprefix("CHECK "))
            breaking = sql.SQL("SELECT count(*) FROM {} WHERE {} IS FALSE").format(table, condition)
            if number := count(connection, key.relation, breaking):
                return f"{number} rows break it"
        case "foreign key" if (reference := REFERENCE.match(expected)) and (not one.instead or one.found):
            columns = [name.strip() for name in reference["columns"].split(",")]
            keys = [name.strip() for name in reference["keys"].split(",")]
            pairs = sql.SQL(" AND ".join(f"k.{k} = t.{c}" for c, k in zip(columns, keys, strict=True)))
            orphans = sql.SQL(
                "SELECT count(*) FROM {} AS t WHERE num_nulls({}) = 0 AND NOT EXISTS (SELECT FROM {} AS k WHERE {})"
            ).format(
                table,
                sql.SQL(", ".join(f"t.{name}" for name in columns)),
                sql.Identifier("public", reference["table"].strip('"')),
                pairs,
            )
            if number := count(connection, key.relation, orphans):
                return f"{number} rows refer to rows that are missing"
    return ""


def against_drop(one: Difference, found: Catalogue) -> str:
    """Return the foreign keys that need a key which has to be replaced, or ''."""
    if one.key.kind not in ("primary key", "unique") or one.found is None:
        return ""
    columns = (COLUMNS.search(one.found) or ["", ""])[1]
    names = [
        key.name
        for key, text in found.items()
        if key.kind == "foreign key"
        and (match := REFERENCE.match(text))
        and (match["table"].strip('"'), match["keys"]) == (one.key.relation, columns)
    ]
    return f"foreign keys need it as it is: {', '.join(names)}" if names else ""


def against_new_type(connection: Connection, one: Difference, found: Catalogue) -> str:
    """Return what depends on a column whose type has to change and is not of the schema, or ''."""
    key = one.key
    for view in views_reading(key.relation):
        if ObjectKey("view", view, "") in found and (others := dependents_of(connection, view, None)):
            return others
    if others := dependents_of(connection, key.relation, key.name):
        return others
    if changes_category(one):
        name = re.compile(rf"\b{re.escape(key.name)}\b")
        for other, text in found.items():
            is_computed = other.kind == "check" or (other.kind == "index" and (" WHERE " in text or "((" in text))
            if other.relation == key.relation and is_computed and name.search(text):
                return f"{other.kind} {other.name} is written for its type"
    return ""


def dependents_of(connection: Connection, relation: str, column: str | None) -> str:
    """Return the views and others outside of the schema that depend on a column or view, or ''."""
    rows = fetch(connection, load_query("db/column-dependents"), {"name": relation, "column": column})
    names = [
        f"{row['kind']} {relation_name(row['schema'], row['relation'])}"
        for row in rows
        if not (row["kind"] == "view" and row["schema"] == "public" and is_view(row["relation"]))
    ]
    return f"it is used by {', '.join(names)}" if names else ""


def forbidding_keys(one: Difference, found: Catalogue) -> Iterator[tuple[str, str, str]]:
    """Yield the foreign keys on either side of a column that cannot take its new type with them."""
    for key, text in found.items():
        if key.kind != "foreign key" or not (match := REFERENCE.match(text)):
            continue
        own = [name.strip(' "') for name in match["columns"].split(",")]
        referenced = [name.strip(' "') for name in match["keys"].split(",")]
        is_own = key.relation == one.key.relation and one.key.name in own
        if is_own or (match["table"].strip('"') == one.key.relation and one.key.name in referenced):
            yield key.relation, key.name, text


def changes_category(one: Difference) -> bool:
    """Whether a column's new type is of another kind than its old one: text instead of a number, say."""
    return category(one.expected or "") != category(one.found or "")


def category(type_: str) -> str:
    """Return what types have in common that can be compared with each other."""
    bare = re.sub(r"\(.*?\)| COLLATE .*", "", type_)
    if bare in NUMBERS:
        return "number"
    if bare.startswith(("character", "text")):
        return "text"
    return "timestamp" if bare.startswith("timestamp") else bare


def count(connection: Connection, relation: str, statement: sql.Composed) -> int:
    """Count rows that break something; 0 if they cannot be counted, or would run another role's functions."""
    if plans_foreign_code(connection, "public", relation):
        return 0
    try:
        return select_count(connection, statement)
    except DatabaseError as error:
        raise_if_unavoidable(error)
        return 0
