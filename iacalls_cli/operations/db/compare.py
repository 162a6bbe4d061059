"""Comparing a live catalogue with the expected one: differences, and findings that tell them."""

from collections.abc import Iterator
from dataclasses import dataclass

from iacalls_cli.operations.db.expected import RELATIONS, Catalogue, ObjectKey, normalise
from iacalls_cli.table import Prose

# Objects that a column brings with it: when that is missing, they are not told of one by one.
OF_COLUMN = ("not null", "default", "sequence")
# Of these kinds a finding tells both definitions; a view's or function's text is too long for that.
TOLD_WHOLE = ("column", "default", "primary key", "unique", "foreign key", "check", "index", "trigger")
VERDICTS = ("problem", "warning", "note")
# What can refuse, change or hide the application's rows where the schema has no such thing.
RESTRAINING = ("check", "unique", "foreign key", "constraint", "trigger", "rule", "row security")
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

    @property
    def verdict(self) -> str:
        """What it means for the application.

        A problem is what the schema promises and the database does not do. What the database
        has besides is a note, or a warning where it may refuse, change or hide rows.
        """
        if self.expected is not None or self.key.kind == "not null":
            return "problem"
        return "warning" if self.key.kind in RESTRAINING else "note"

    @property
    def bad_state(self) -> str:
        """DISABLED, INVALID or NOT VALID, where that is what is wrong, or ''."""
        states = ("DISABLED", "INVALID", "NOT VALID")
        return next((state for state in states if (self.found or "").endswith(f" {state}")), "")

    def __str__(self) -> str:
        kind = self.key.kind
        if self.expected is None:
            return "does not allow NULL" if kind == "not null" else "is not in the schema"
        if self.instead and kind in RELATIONS:
            return f"is {self.instead} here"
        if self.instead and kind == "column":
            return f"is missing, and may be {self.instead} under another name"
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
    relation: str
    object: str
    finding: Prose
    expected: str
    found: str


def finding_of(difference: Difference) -> Finding:
    """What is told of a difference."""
    key = difference.key
    found = difference.found or difference.instead
    return Finding(difference.verdict, key.relation, str(key), str(difference), difference.expected or "", found)


def compare(expected: Catalogue, found: Catalogue) -> list[Difference]:
    """The differences, problems first, then by relation."""
    differences = [*missing_or_different(expected, found), *unexpected(expected, found)]
    return sorted(
        differences, key=lambda item: (VERDICTS.index(item.verdict), item.key.relation, str(item.key), str(item))
    )


def missing_or_different(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the schema has and the database lacks, or has otherwise."""
    for key, definition in expected.items():
        if not has_home(key, expected, found) or not has_column(key, found) or is_identity(key, found):
            continue
        live = found.get(key)
        if live is None:
            yield missing(key, definition, expected, found)
        elif normalise(key.kind, live) != normalise(key.kind, definition):
            yield Difference(key, definition, live)


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
        instead = next((name for name, live in others.items() if live == definition), "")
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
                return Difference(key, definition, live, name)
    return Difference(key, definition, None)


def unexpected(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the database has besides the schema."""
    for key, live in found.items():
        if key in expected or not has_home(key, found, expected) or key.kind == "sequence":
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


def is_identity(key: ObjectKey, found: Catalogue) -> bool:
    """Whether this is about the default of an identity column, which does what a serial one does."""
    default = found.get(ObjectKey("default", key.relation, key.name), "")
    return key.kind in ("default", "sequence") and default.endswith(" AS IDENTITY")
