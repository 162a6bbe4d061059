"""The catalogue that sql/schema.sql makes, bundled so that comparing needs no scratch database.

`sql/catalogue.json` is made from the schema by the test-suite (`make golden`), which also
proves that the two are in step.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from iacalls_cli.queries import SQL

CATALOGUE = SQL / "catalogue.json"
ALIAS = re.compile(r"\b(?:FROM|JOIN) (\w+) (?!ON\b|LEFT\b|JOIN\b|WHERE\b|GROUP\b|ORDER\b)(\w+)")
EQUATION = re.compile(r"\b(\w+\.\w+) = (\w+\.\w+)\b")
CAST = re.compile(r"::(character varying|[a-z_]+)(\(\d+\))?(\[\])?")


RELATIONS = ("table", "view", "materialized view")


@dataclass(frozen=True, order=True)
class ObjectKey:
    """What identifies a catalogue object: its kind, its table or view ('' for none), its name."""

    kind: str
    relation: str
    name: str

    def __str__(self) -> str:
        if self.kind in RELATIONS:
            return f"{self.kind} {self.relation}"
        if self.kind in ("not null", "default", "sequence", "column"):
            return f"column {self.relation}.{self.name}"
        return f"{self.kind} {self.name}"


Catalogue = Mapping[ObjectKey, str]


@cache
def expected_catalogue() -> Catalogue:
    """The documented schema's objects with their definitions."""
    return {ObjectKey(*row[:3]): row[3] for row in json.loads(CATALOGUE.read_text("utf-8"))}


def expected_relations() -> list[str]:
    """The documented tables and views, tables first."""
    keys = [key for key in expected_catalogue() if key.kind in ("table", "view")]
    return [key.relation for key in sorted(keys)]


def normalise(kind: str, definition: str) -> str:
    """A definition without what differs between servers and after a dump and restore.

    A check that has been restored carries its casts and parentheses elsewhere; function
    bodies differ in white space, case, and the two ways to assign; views in their aliases.

    >>> normalise("check", "CHECK (((role)::text = ANY (ARRAY['a'::character varying])))")
    "checkrole=anyarray['a']"
    """
    definition = definition.replace("public.", "")
    if kind == "check":
        # Strings keep their case: they are data.
        bare = CAST.sub("", definition).replace("(", "").replace(")", "").replace(" ", "")
        return re.sub(r"[^']+|'[^']*'", lambda part: part[0] if part[0].startswith("'") else part[0].lower(), bare)
    if kind == "function":
        words = " ".join(definition.lower().replace(":=", "=").split())
        return words.replace("current_timestamp", "now()").replace("localtimestamp", "now()")
    if kind == "view":
        return normalise_view(definition)
    if kind == "default":
        return CAST.sub("", definition).replace("CURRENT_TIMESTAMP", "now()")
    return definition


def normalise_view(definition: str) -> str:
    """A view's query without what its author was free to choose.

    That is: aliases, the order of a join's equation, `= true`, and casts that the server adds.

    >>> normalise_view("SELECT x.a FROM t x JOIN u y ON x.id = y.id WHERE x.b = true")
    'SELECT t.a FROM t JOIN u ON t.id = u.id WHERE t.b'
    """
    text = " ".join(CAST.sub("", definition).split())
    for table, alias in ALIAS.findall(text):
        text = re.sub(rf"\b{alias}\.", f"{table}.", text)
    text = ALIAS.sub(lambda part: part[0].removesuffix(f" {part[2]}"), text)
    return EQUATION.sub(lambda part: " = ".join(sorted(part.groups())), text.replace(" = true", ""))
