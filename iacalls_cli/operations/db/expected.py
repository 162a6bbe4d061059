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
CAST = re.compile(r"::(character varying|[a-z_]+)(\(\d+\))?(\[\])?")


@dataclass(frozen=True, order=True)
class ObjectKey:
    """What identifies a catalogue object: its kind, its table or view ('' for none), its name."""

    kind: str
    relation: str
    name: str

    def __str__(self) -> str:
        if self.kind in ("table", "view"):
            return f"{self.kind} {self.relation}"
        if self.kind in ("not null", "default", "sequence", "column"):
            return f"column {self.relation}.{self.name}"
        if self.kind == "reads":
            return f"view {self.relation}"
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
    bodies differ in white space, case, and the two ways to assign.

    >>> normalise("check", "CHECK (((role)::text = ANY (ARRAY['a'::character varying])))")
    "checkrole=anyarray['a']"
    """
    if kind == "check":
        # Strings keep their case: they are data.
        bare = CAST.sub("", definition).replace("(", "").replace(")", "").replace(" ", "")
        return re.sub(r"[^']+|'[^']*'", lambda part: part[0] if part[0].startswith("'") else part[0].lower(), bare)
    if kind == "function":
        words = " ".join(definition.lower().replace(":=", "=").split())
        return words.replace("current_timestamp", "now()").replace("localtimestamp", "now()")
    if kind == "default":
        return CAST.sub("", definition).replace("CURRENT_TIMESTAMP", "now()").replace("public.", "")
    return definition
