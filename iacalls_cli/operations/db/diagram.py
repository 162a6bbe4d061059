"""`db diagram`: the relations between tables, as Mermaid, Graphviz or text."""

from dataclasses import dataclass

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.queries import load_query
from iacalls_cli.text import one_line, printable


@dataclass(frozen=True)
class ForeignKey:
    """One foreign key. `is_required` says that no column of it allows NULL."""

    child: str
    columns: tuple[str, ...]
    parent: str
    on_delete: str
    is_required: bool


@dataclass(frozen=True)
class Diagram:
    """The tables of a database and the foreign keys between them."""

    tables: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...]


def read_diagram(connection: Connection) -> Diagram:
    """The live database's tables and foreign keys, by name."""
    relations = fetch(connection, load_query("db/relations"))
    tables = tuple(row["name"] for row in relations if "view" not in row["kind"])
    rows = fetch(connection, load_query("db/foreign-keys"))
    return Diagram(tables, tuple(ForeignKey(**{**row, "columns": tuple(row["columns"])}) for row in rows))


def as_mermaid(diagram: Diagram) -> str:
    """A Mermaid erDiagram; `o` on the parent's side says that the key may be NULL."""
    lines = ["erDiagram", *(f"    {mermaid_name(table)}" for table in diagram.tables)]
    for key in diagram.foreign_keys:
        parent = "||" if key.is_required else "|o"
        label = f"{', '.join(key.columns)} ({key.on_delete})"
        lines.append(f"    {mermaid_name(key.parent)} {parent}--o{{ {mermaid_name(key.child)} : {quoted(label)}")
    return "\n".join(lines)


def as_dot(diagram: Diagram) -> str:
    """A Graphviz digraph; arrows point from a foreign key to what it references."""
    lines = ["digraph database {", "    rankdir=RL;", "    node [shape=box];"]
    lines += [f"    {quoted(table)};" for table in diagram.tables]
    for key in diagram.foreign_keys:
        style = "" if key.is_required else ", style=dashed"
        label = quoted(f"{', '.join(key.columns)}\\n{key.on_delete}")
        lines.append(f"    {quoted(key.child)} -> {quoted(key.parent)} [label={label}{style}];")
    return "\n".join([*lines, "}"])


def as_text(diagram: Diagram) -> str:
    """Each table with what references it."""
    lines = []
    for table in diagram.tables:
        lines.append(printable(table))
        keys = [key for key in diagram.foreign_keys if key.parent == table]
        for number, key in enumerate(keys, 1):
            branch = "└──" if number == len(keys) else "├──"
            columns = ", ".join(f"{key.child}.{column}" for column in key.columns)
            lines.append(f"{branch} {printable(columns)}  (on delete {key.on_delete.lower()})")
    return "\n".join(lines)


def mermaid_name(name: str) -> str:
    """An entity's name; Mermaid takes quotes around unusual ones."""
    return name if name.replace("_", "").isalnum() and name.isascii() else quoted(name)


def quoted(text: str) -> str:
    """Text on one line in double quotes, its own turned into single ones."""
    return '"' + one_line(text).replace('"', "'") + '"'
