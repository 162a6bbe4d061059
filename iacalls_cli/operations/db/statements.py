"""The statements of sql/schema.sql, found by what they create."""

import re
from functools import cache

from iacalls_cli.operations.db.catalog import ObjectKey, expected_catalog
from iacalls_cli.queries import load_schema
from iacalls_cli.sql_text import scan

PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def is_view(relation: str) -> bool:
    """Whether the schema has a view of that name."""
    return ObjectKey("view", relation, "") in expected_catalog()


def views_reading(table: str) -> list[str]:
    """The documented views that read a table."""
    views = ((key.relation, text) for key, text in expected_catalog().items() if key.kind == "view")
    return [view for view, text in views if re.search(rf"\b{re.escape(table)}\b", text)]


@cache
def schema_statements() -> tuple[str, ...]:
    """The statements of sql/schema.sql, without comments."""
    statements, statement = [], ""
    for kind, piece in scan(load_schema()):
        if kind == "semicolon":
            statements.append(f"{statement.strip()};")
            statement = ""
        elif kind != "comment":
            statement += piece
    return tuple(statements)


def schema_tables() -> list[str]:
    """The schema's tables, each behind those it references."""
    return [match[1] for text in schema_statements() if (match := re.match(r"CREATE TABLE public\.(\w+)", text))]


def create(name: str) -> str:
    """The statement that creates a view or function, or replaces it."""
    made = re.compile(rf"CREATE (VIEW|FUNCTION) public\.{re.escape(name)}\b")
    text = next(text for text in schema_statements() if made.match(text))
    return text.replace("CREATE", "CREATE OR REPLACE", 1)


def statements_about(table: str) -> list[str]:
    """The schema's statements that create a table with its indexes, triggers and comments."""
    name = rf"public\.{re.escape(table)}"
    about = re.compile(
        rf"CREATE TABLE {name} |CREATE (INDEX|TRIGGER) .*? ON {name}\b|COMMENT ON \w+\s+{name}[ .]", re.DOTALL
    )
    return [text for text in schema_statements() if about.match(text)]


def commented(text: str) -> str:
    """SQL that is only proposed."""
    return "\n".join(f"-- {line}" for line in text.splitlines())


def quote_name(name: str) -> str:
    """An identifier as SQL needs it written; catalogue names are data, and data are quoted."""
    return name if PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def qualify(name: str) -> str:
    """The name of a relation of schema public, as SQL needs it written."""
    return f"public.{quote_name(name)}"
