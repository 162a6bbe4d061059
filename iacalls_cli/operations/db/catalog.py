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
from iacalls_cli.sql_text import scan

CATALOGUE = SQL / "catalogue.json"
ALIAS = re.compile(r"\b(?:FROM|JOIN) (\w+) (?!ON\b|LEFT\b|JOIN\b|WHERE\b|GROUP\b|ORDER\b)(\w+)")
EQUATION = re.compile(r"\b(\w+\.\w+) = (\w+\.\w+)\b")
BARE_CAST = re.compile(r"::(character varying|[a-z_]+)(\[\])?(?!\()")
CAST = re.compile(r"::(character varying|[a-z_]+)(\(\d+\))?(\[\])?")


RELATIONS = ("table", "view", "materialized view")
# Attributes that an object has only if it has something unusual; format 1 of a backup's catalogue has none of them.
ATTRIBUTES = ("persistence", "view options", "function options", "generated", "unvalidated not null", "disabled key",
              "replica identity", "forced row security", "partitioning", "inheritance")  # fmt: skip
LATER_KINDS = (*ATTRIBUTES, "sequence range")
# Kinds whose name is that of a column.
OF_COLUMNS = ("not null", "default", "sequence", "column", "generated", "unvalidated not null", "sequence range",
              "next value")  # fmt: skip
SEQUENCE_RANGE = re.compile(
    r"(?P<name>\S+|\".*\") AS (?P<type>\w+) INCREMENT (?P<step>-?\d+) MINVALUE (?P<least>-?\d+)"
    r" MAXVALUE (?P<most>-?\d+)(?P<cycle> CYCLE)?(?P<unlogged> UNLOGGED)?"
)
LAST_INTEGER = 2**31 - 1


@dataclass(frozen=True, order=True)
class ObjectKey:
    """What identifies a catalogue object: its kind, its table or view ('' for none), its name."""

    kind: str
    relation: str
    name: str

    def __str__(self) -> str:
        if self.kind in RELATIONS:
            return f"{self.kind} {self.relation}"
        if self.kind == "disabled key":
            return f"foreign key {self.name}"
        if self.kind == "function options":
            return f"function {self.name}"
        if not self.name:
            return f"view {self.relation}" if self.kind == "view options" else f"table {self.relation}"
        if self.kind in OF_COLUMNS:
            return f"column {self.relation}.{self.name}"
        return f"{self.kind} {self.name}"


Catalogue = Mapping[ObjectKey, str]


@cache
def expected_catalog() -> Catalogue:
    """The documented schema's objects with their definitions."""
    return {ObjectKey(*row[:3]): row[3] for row in json.loads(CATALOGUE.read_text("utf-8"))}


def expected_relations() -> list[str]:
    """The documented tables and views, tables first."""
    keys = [key for key in expected_catalog() if key.kind in ("table", "view")]
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
        bare = BARE_CAST.sub("", definition).replace("(", "").replace(")", "").replace(" ", "")
        return re.sub(r"[^']+|'[^']*'", lambda part: part[0] if part[0].startswith("'") else part[0].lower(), bare)
    if kind == "function":
        code = "".join(" " if part == "comment" else piece for part, piece in scan(definition))
        words = " ".join(code.lower().replace(":=", "=").replace("=", " = ").replace(";", " ; ").split())
        words = words.replace("current_timestamp", "now()").replace("localtimestamp", "now()")
        return words.removesuffix(";").rstrip()
    if kind == "view":
        return normalise_view(definition)
    if kind == "default":
        return CAST.sub("", definition).replace("CURRENT_TIMESTAMP", "now()")
    if kind == "column":
        # Microseconds are what a time has anyway.
        return re.sub(r"^(timestamp|time|interval)\(6\)", r"\1", definition)
    if kind == "index":
        # How full its pages are kept changes nothing that the application sees.
        return re.sub(r" WITH \([^)]*\)", "", definition)
    if kind == "sequence range":
        return "; ".join(range_faults(definition))
    return definition


def range_faults(definition: str) -> list[str]:
    """What a sequence does that a serial column's does not.

    >>> range_faults("users_id_seq AS smallint INCREMENT 1 MINVALUE 1 MAXVALUE 32767 CYCLE")
    ['ends at 32767', 'begins again at its end (CYCLE)']
    """
    found = SEQUENCE_RANGE.fullmatch(definition)
    if not found:
        return [definition]
    step, most = int(found["step"]), int(found["most"])
    faults = ["counts backwards"] if step < 0 else []
    if step > 1:
        faults.append(f"leaves out ids (INCREMENT {step})")
    if most < LAST_INTEGER:
        faults.append(f"ends at {most}")
    if found["cycle"]:
        faults.append("begins again at its end (CYCLE)")
    if found["unlogged"]:
        faults.append("is UNLOGGED, and begins anew after a crash")
    return faults


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
