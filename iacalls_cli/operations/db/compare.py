"""Comparing a live catalogue with the expected one: differences, and findings that tell them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from iacalls_cli.operations.db.catalog import (
    ATTRIBUTES,
    OF_COLUMNS,
    RELATIONS,
    Catalogue,
    ObjectKey,
    normalise,
    range_faults,
)
from iacalls_cli.table import Detail, Prose

# Objects that a column brings with it: when that is missing, they are not told of one by one.
OF_COLUMN = tuple(kind for kind in OF_COLUMNS if kind != "column")
# Of these kinds a finding tells both definitions; a view's or function's text is too long for that.
TOLD_WHOLE = ("column", "default", "primary key", "unique", "foreign key", "check", "index", "trigger")
VERDICTS = ("problem", "warning", "note")
# What can refuse, change or hide the application's rows where the schema has no such thing.
RESTRAINING = ("check", "unique", "foreign key", "constraint", "trigger", "rule", "row security", "forced row security",
               "inheritance")  # fmt: skip
# Of an attribute that the schema does not have, what the finding says before its definition.
ATTRIBUTE_WORDS = {
    "persistence": "is UNLOGGED: it is empty after a crash, and on a replica",
    "unvalidated not null": "has a NOT NULL that is NOT VALID",
    "disabled key": "has its triggers disabled, and is not enforced",
    "forced row security": "has row security forced on its owner",
}
ATTRIBUTE_PREFIXES = {
    "view options": "has the option ",
    "function options": "is ",
    "generated": "takes no value: ",
    "replica identity": "has the replica identity ",
    "partitioning": "is partitioned by ",
}
# Attributes that do what the schema promises, or more.
HARMLESS = ("partitioning", "replica identity FULL", "replica identity INDEX")
TAKES_NO_VALUE = "GENERATED ALWAYS AS IDENTITY"
UNIQUE_INDEX = re.compile(r"CREATE UNIQUE INDEX (?:\".*\"|\S+) ON \S+ USING btree (\([^()]*\))(?: WITH \([^)]*\))?")
ORDERING = re.compile(r" (DESC|ASC|NULLS|COLLATE)\b|\w _?\w+_ops\b")
MISSING_WORDS = {
    "not null": "allows NULL",
    "default": "has no default",
    "sequence": "does not own its sequence",
}


@dataclass(frozen=True)
class Difference:
    """One object that is not as expected.

    `expected` is None where the schema has no such object, `found` where the database has
    none. `instead` is what the database has in its place: the same key or check, or one on
    the same columns, under another name; a table for a view; a column that may be this one.
    """

    key: ObjectKey
    expected: str | None
    found: str | None
    instead: str = ""
    # What the rows or other objects have against it; the script leaves its statement as a comment then.
    obstacle: str = ""
    # The kind of what has its name here, such as `index`; the script renames it.
    taken_by: str = ""
    # The finding in words, if it does not follow from the kind.
    message: str = ""
    severity: str = ""
    # Foreign keys that forbid a column's new type: (table, constraint, its definition if the schema has it, else '').
    forbidding: tuple[tuple[str, str, str], ...] = ()

    @property
    def verdict(self) -> str:
        """What it means for the application.

        A problem is what the schema promises and the database does not do. What the database
        has besides is a note, or a warning where it may refuse, change or hide rows.
        """
        if self.severity:
            return self.severity
        if self.expected is not None or self.key.kind == "not null":
            return "problem"
        if self.key.kind in ATTRIBUTES and self.key.kind not in RESTRAINING:
            is_harmless = self.key.kind in HARMLESS or f"{self.key.kind} {self.found}" in HARMLESS
            return "note" if is_harmless else "problem"
        return "warning" if self.key.kind in RESTRAINING else "note"

    @property
    def is_index(self) -> bool:
        """Whether a unique index stands for this constraint."""
        return self.taken_by == "index as constraint"

    @property
    def bad_state(self) -> str:
        """DISABLED, INVALID or NOT VALID, where that is what is wrong, or ''."""
        states = ("DISABLED", "INVALID", "NOT VALID")
        return next((state for state in states if (self.found or "").endswith(f" {state}")), "")

    def __str__(self) -> str:
        return f"{self.words()}; {self.obstacle}" if self.obstacle else self.words()

    def words(self) -> str:
        """What is wrong, without what stands against mending it."""
        kind = self.key.kind
        if self.message:
            return self.message
        if kind == "sequence range" and self.expected is not None and self.found is not None:
            return "has a sequence that " + " and ".join(range_faults(self.found))
        if self.expected is None and kind in ATTRIBUTES:
            return ATTRIBUTE_WORDS.get(kind) or f"{ATTRIBUTE_PREFIXES.get(kind, '')}{self.found}"
        if self.expected is None:
            return "does not allow NULL" if kind == "not null" else "is not in the schema"
        if self.instead and kind in RELATIONS:
            return f"is {self.instead} here"
        if self.instead and kind == "column":
            return f"is missing, and may be {self.instead} under another name"
        if self.instead and self.found is None and self.is_index:
            return f"is only the unique index {self.instead} here"
        if self.instead and self.found is None:
            return f"is named {self.instead} here"
        if self.found is None:
            return MISSING_WORDS.get(kind, "is missing")
        if self.bad_state:
            return f"is {self.bad_state}"
        if kind in TOLD_WHOLE:
            has = "has the default" if kind == "default" else "is"
            named = f"{self.instead}: " if self.instead else ""
            return f"{has} {named}{self.found}, and should be {self.expected}"
        return "differs"


@dataclass(frozen=True)
class Finding:
    """One difference, or one known password, for people; only a problem fails a check.

    `verdict` is problem, warning or note.
    """

    verdict: str
    relation: Detail
    object: str
    finding: Prose
    expected: Detail
    found: Detail


def finding_of(difference: Difference) -> Finding:
    """What is told of a difference."""
    key = difference.key
    found = difference.found or difference.instead
    return Finding(difference.verdict, key.relation, str(key), str(difference), difference.expected or "", found)


def compare(expected: Catalogue, found: Catalogue) -> list[Difference]:
    """The differences, problems first, then by relation."""
    return sort_differences([*missing_or_different(expected, found), *unexpected(expected, found)])


def sort_differences(differences: Iterable[Difference]) -> list[Difference]:
    """Problems first, then by relation."""
    return sorted(
        differences, key=lambda item: (VERDICTS.index(item.verdict), item.key.relation, str(item.key), str(item))
    )


def missing_or_different(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the schema has and the database lacks, or has otherwise."""
    for key, definition in expected.items():
        if not has_home(key, expected, found) or not has_column(key, found):
            continue
        live = found.get(key)
        if is_identity(key, expected, found):
            if live == TAKES_NO_VALUE:
                yield Difference(key, definition, live, message="takes no value: it is GENERATED ALWAYS AS IDENTITY")
            continue
        if is_generated(key, found) or (key.kind == "sequence range" and live is None):
            continue  # told of the column's expression, or its missing sequence
        if live is None:
            if key.kind != "unique" or unique_index(key, definition, found) != key.name:
                yield missing(key, definition, expected, found)
        elif normalise(key.kind, live) != normalise(key.kind, definition):
            yield Difference(key, definition, live)


def unique_index(key: ObjectKey, definition: str, found: Catalogue) -> str:
    """Return the unique index on the columns of a key, of the same name if there is one, or ''."""
    columns = definition.removeprefix("UNIQUE ").removeprefix("PRIMARY KEY ")
    names = [
        other.name
        for other, live in found.items()
        if other.kind == "index"
        and other.relation == key.relation
        and (match := UNIQUE_INDEX.fullmatch(live))
        and match[1] == columns
        and not ORDERING.search(match[1])
    ]
    return key.name if key.name in names else next(iter(names), "")


def missing(key: ObjectKey, definition: str, expected: Catalogue, found: Catalogue) -> Difference:
    """The difference of an object that the database lacks, with what it has in its place."""
    if key.kind in RELATIONS:
        instead = next((f"a {kind}" for kind in RELATIONS if ObjectKey(kind, key.relation, "") in found), "")
        return Difference(key, definition, None, instead)
    others = {
        other.name: live
        for other, live in found.items()
        if other.kind == key.kind and other.relation == key.relation and other not in expected
    }
    if key.kind == "column" and ObjectKey("table", key.relation, "") in expected:
        alike = [name for name, live in others.items() if live == definition]
        instead = max(alike, key=lambda name: SequenceMatcher(None, name, key.name).ratio(), default="")
        return Difference(key, definition, None, instead)
    if key.kind in ("primary key", "unique", "foreign key", "check"):
        wanted = normalise(key.kind, definition)
        for name, live in others.items():
            if normalise(key.kind, live) == wanted:
                return Difference(key, definition, None, name)
        for name, live in others.items():
            # Left in place it would go on to act beside the documented one.
            if (
                key.kind == "foreign key"
                and live.split(" REFERENCES ")[0] == definition.split(" REFERENCES ", maxsplit=1)[0]
            ):
                return Difference(key, definition, live, name, taken_by=taken_by(key, found, name))
    if key.kind in ("primary key", "unique") and (index := unique_index(key, definition, found)):
        return Difference(key, definition, None, index, taken_by="index as constraint")
    if key.kind == "index":
        wanted = without_name(definition)
        for other, live in found.items():
            if other.kind == "index" and other not in expected and without_name(live) == wanted:
                return Difference(key, definition, None, message=f"is named {other.name} here", severity="note")
    return Difference(key, definition, None, taken_by=taken_by(key, found))


def without_name(index: str) -> str:
    """An index's definition without what may be named or set otherwise and does the same."""
    return re.sub(r"INDEX (\".*?\"|\S+) ON", "INDEX ON", normalise("index", index), count=1)


def taken_by(key: ObjectKey, found: Catalogue, but: str = "") -> str:
    """Return the kind of the object that has the name of a missing constraint or index, or ''."""
    has_index = key.kind in ("primary key", "unique", "index")
    for other in found:
        name = other.relation if other.kind in RELATIONS else other.name
        if name != key.name or name == but or other.kind in (*ATTRIBUTES, *OF_COLUMNS):
            continue
        if other.kind in RELATIONS and has_index:
            return other.kind
        if other.kind in ("index", "primary key", "unique") and (has_index or other.kind != "index"):
            is_own = other.kind != "index" and other.relation == key.relation
            if has_index or is_own:
                return f"{'index' if other.kind == 'index' else 'constraint of'} {other.relation}"
        if (
            other.kind in ("check", "foreign key", "constraint")
            and other.relation == key.relation
            and key.kind != "index"
        ):
            return f"constraint of {other.relation}"
    return ""


def unexpected(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the database has besides the schema."""
    for key, live in found.items():
        if key in expected or not has_home(key, found, expected) or key.kind in ("sequence", "sequence range"):
            continue
        if key.kind == "index" and is_unique_elsewhere(key, live, expected, found):
            continue
        if key.kind == "function options" and ObjectKey("function", "", key.name) not in expected:
            continue
        if key.kind == "disabled key" and ObjectKey("foreign key", key.relation, key.name) not in expected:
            continue
        if key.kind == "default" and is_generated(key, found):
            continue
        if key.kind == "default" and live == TAKES_NO_VALUE and has_column(key, expected):
            yield Difference(key, None, live, message=f"takes no value: it is {live}", severity="problem")
            continue
        refuses_rows = key.kind == "not null" and ObjectKey("default", key.relation, key.name) not in found
        if has_column(key, expected) or refuses_rows:
            yield Difference(key, None, live)


def has_home(key: ObjectKey, own: Catalogue, other: Catalogue) -> bool:
    """Whether `other` has the relation that this object of `own` belongs to; if not, only that is told."""
    if not key.relation or key.kind in RELATIONS:
        return True
    homes = (ObjectKey(kind, key.relation, "") for kind in RELATIONS)
    return any(home in own and home in other for home in homes)


def has_column(key: ObjectKey, other: Catalogue) -> bool:
    """Whether `other` has the column that this belongs to, if it belongs to one."""
    return key.kind not in OF_COLUMN or ObjectKey("column", key.relation, key.name) in other


def is_identity(key: ObjectKey, expected: Catalogue, found: Catalogue) -> bool:
    """Whether this is about the default of an identity column, which does what a serial one does."""
    wanted = expected.get(ObjectKey("default", key.relation, key.name), "")
    default = found.get(ObjectKey("default", key.relation, key.name), "")
    is_fed = wanted.startswith("nextval(")
    return key.kind in ("default", "sequence") and is_fed and default.endswith(" AS IDENTITY")


def is_generated(key: ObjectKey, found: Catalogue) -> bool:
    """Whether this is about the default of a generated column, whose expression is told of instead."""
    return key.kind in ("default", "sequence") and ObjectKey("generated", key.relation, key.name) in found


def is_unique_elsewhere(key: ObjectKey, live: str, expected: Catalogue, found: Catalogue) -> bool:
    """Whether an index of the database stands for a unique constraint or key, which is told instead."""
    return any(
        other.kind in ("unique", "primary key") and other.relation == key.relation and other not in found
        and unique_index(other, text, {key: live}) == key.name
        for other, text in expected.items()
    )  # fmt: skip
