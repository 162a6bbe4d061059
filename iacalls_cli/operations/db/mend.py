"""The SQL that makes one object as the schema has it; for reading and running by hand."""

import re

from iacalls_cli.operations.db.expected import ObjectKey, expected_catalogue
from iacalls_cli.queries import load_schema

PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def quote_name(name: str) -> str:
    """An identifier as SQL needs it written; catalogue names are data, and data are quoted."""
    return name if PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def mend(key: ObjectKey, expected: str | None, found: str | None) -> str:
    """The statement that mends one finding, or '' where that needs a decision of people.

    `expected` None means the object should not be there, `found` None that it is missing.
    """
    table, name = quote_name(key.relation), quote_name(key.name)
    alter = f"ALTER TABLE {table}"
    view = ObjectKey("view", key.relation, "")
    if view in expected_catalogue() and key != view:
        return f"DROP VIEW IF EXISTS {table};\n{statement_of_schema(view, replace=False)}"
    if key.kind == "not null":
        return f"{alter} ALTER COLUMN {name} {'SET' if expected else 'DROP'} NOT NULL;"
    if expected is None:
        return ""
    match key.kind:
        case "column" if found is None:
            return f"{alter} ADD COLUMN {name} {expected}{column_rest(key)};"
        case "column":
            return around_views(key, f"{alter} ALTER COLUMN {name} TYPE {expected} USING {name}::{expected};")
        case "default":
            return f"{alter} ALTER COLUMN {name} SET DEFAULT {expected};"
        case "sequence":
            return f"ALTER SEQUENCE {quote_name(expected)} OWNED BY {table}.{name};"
        case "primary key" | "unique" | "foreign key" | "check":
            drop = f"{alter} DROP CONSTRAINT {name};\n" if found else ""
            return f"{drop}{alter} ADD CONSTRAINT {name} {expected};"
        case "index":
            drop = f"DROP INDEX CONCURRENTLY {name};\n" if found else ""
            return drop + expected.replace("INDEX ", "INDEX CONCURRENTLY ", 1) + ";"
        case "trigger" if found and found.startswith(expected):
            return f"{alter} ENABLE TRIGGER {name};"
        case "trigger":
            return (f"DROP TRIGGER {name} ON {table};\n" if found else "") + expected + ";"
        case "function" | "table" | "view":
            return statement_of_schema(key, replace=found is not None)
    return ""


def around_views(key: ObjectKey, statement: str) -> str:
    """A statement between dropping and making again the documented views that read its column.

    PostgreSQL changes no type under a view.
    """
    readers = [
        other.relation
        for other, columns in expected_catalogue().items()
        if other.kind == "reads" and other.name == key.relation and key.name in columns.split(", ")
    ]
    drops = [f"DROP VIEW {quote_name(view)};" for view in readers]
    makes = [statement_of_schema(ObjectKey("view", view, ""), replace=False) for view in readers]
    return "\n".join([*drops, statement, *makes])


def column_rest(key: ObjectKey) -> str:
    """Default and NOT NULL of a column that is added."""
    catalogue = expected_catalogue()
    default = catalogue.get(ObjectKey("default", key.relation, key.name), "")
    required = ObjectKey("not null", key.relation, key.name) in catalogue
    return (f" DEFAULT {default}" if default else "") + (" NOT NULL" if required and default else "")


def statement_of_schema(key: ObjectKey, *, replace: bool) -> str:
    """The statement of sql/schema.sql that creates a table, view or function.

    A table comes without its indexes and triggers: they are findings of their own.
    """
    name = key.relation or key.name.split("(")[0]
    end = r"\$\$;\n" if key.kind == "function" else r";\n"
    match = re.search(
        rf"^CREATE {key.kind.upper()} {re.escape(name)}\b.*?{end}", load_schema(), re.MULTILINE | re.DOTALL
    )
    if match is None:
        return ""
    text = match[0].strip()
    if replace and key.kind in ("function", "view"):
        text = text.replace("CREATE ", "CREATE OR REPLACE ", 1)
    return text
