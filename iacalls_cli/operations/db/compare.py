"""Comparing a live catalogue with the expected one: differences, and findings that tell them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from iacalls_cli.operations.db.expected import Catalogue, ObjectKey, normalise
from iacalls_cli.table import Prose

# Objects that a column brings with it: when that is missing, they are not told of one by one.
OF_COLUMN = ("not null", "default", "sequence")
# Of these kinds a finding tells both definitions; a view's or function's text is too long for that.
TOLD_WHOLE = ("column", "default", "primary key", "unique", "foreign key", "check", "index", "trigger")
MISSING_WORDS = {
    "not null": "allows NULL",
    "default": "has no default",
    "sequence": "does not own its sequence",
}


@dataclass(frozen=True)
class Difference:
    """One object that is not as expected.

    `expected` is None where the schema has no such object, `found` where the database has
    none; `other_name` is the name under which the database has the same key or check.
    """

    key: ObjectKey
    expected: str | None
    found: str | None
    other_name: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether the database cannot do what the schema promises; more than the schema has is only noted."""
        return self.expected is not None or self.key.kind == "not null"

    @property
    def bad_state(self) -> str:
        """DISABLED, INVALID or NOT VALID, where that is what is wrong, or ''."""
        states = (state for state in ("DISABLED", "INVALID", "NOT VALID") if state in (self.found or ""))
        return next((state for state in states if state not in (self.expected or "")), "")

    def __str__(self) -> str:
        kind = self.key.kind
        if self.expected is None:
            return "does not allow NULL" if kind == "not null" else "is not in the schema"
        if self.other_name:
            return f"is named {self.other_name} here"
        if self.found is None:
            return MISSING_WORDS.get(kind, "is missing")
        if self.bad_state:
            return f"is {self.bad_state}"
        if kind in TOLD_WHOLE:
            has = "has the default" if kind == "default" else "is"
            return f"{has} {self.found}, and should be {self.expected}"
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
    verdict = "problem" if difference.is_problem else "note"
    found = difference.found or difference.other_name
    return Finding(verdict, key.relation, str(key), str(difference), difference.expected or "", found)


def compare(expected: Catalogue, found: Catalogue) -> list[Difference]:
    """The differences, problems first, then by relation."""
    differences = [*missing_or_different(expected, found), *unexpected(expected, found)]
    return sorted(differences, key=lambda item: (not item.is_problem, item.key.relation, str(item.key), str(item)))


def missing_or_different(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the schema has and the database lacks, or has otherwise."""
    for key, definition in expected.items():
        if is_part_of_missing(key, found):
            continue
        live = found.get(key)
        if live is None:
            yield Difference(key, definition, None, renamed(key, definition, expected, found))
        elif normalise(key.kind, live) != normalise(key.kind, definition):
            yield Difference(key, definition, live)


def unexpected(expected: Catalogue, found: Catalogue) -> Iterator[Difference]:
    """What the database has besides the schema."""
    for key, live in found.items():
        if key in expected or is_part_of_missing(key, expected) or key.kind == "sequence":
            continue
        if key.kind not in OF_COLUMN or ObjectKey("column", key.relation, key.name) in expected:
            yield Difference(key, None, live)


def is_part_of_missing(key: ObjectKey, catalogue: Catalogue) -> bool:
    """Whether `catalogue` lacks the very relation or column that this object belongs to."""
    if key.relation and key.kind not in ("table", "view"):
        homes = (ObjectKey("table", key.relation, ""), ObjectKey("view", key.relation, ""))
        if not any(home in catalogue for home in homes):
            return True
    return key.kind in OF_COLUMN and ObjectKey("column", key.relation, key.name) not in catalogue


def renamed(key: ObjectKey, definition: str, expected: Catalogue, found: Mapping[ObjectKey, str]) -> str:
    """The name under which the same key or check exists, or ''."""
    if key.kind not in ("primary key", "unique", "foreign key", "check"):
        return ""
    wanted = normalise(key.kind, definition)
    for other, live in found.items():
        same_place = other.kind == key.kind and other.relation == key.relation and other not in expected
        if same_place and normalise(key.kind, live) == wanted:
            return other.name
    return ""
