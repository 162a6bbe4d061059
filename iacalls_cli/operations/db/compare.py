"""Comparing a live catalogue with the expected one: findings, and the SQL that mends them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from iacalls_cli.operations.db.expected import Catalogue, ObjectKey, normalise
from iacalls_cli.operations.db.mend import mend
from iacalls_cli.table import Prose

# Objects that a column, a table or a view brings with it: when that is missing, they are
# not told of one by one.
OF_COLUMN = ("not null", "default", "sequence")


@dataclass(frozen=True)
class Finding:
    """One difference. `verdict` is problem, warning or note; only problems fail a check.

    `mend` is SQL that makes the database as expected, '' where that takes a decision.
    """

    verdict: str
    relation: str
    object: str
    finding: Prose
    expected: str
    found: str
    mend: str


def compare(expected: Catalogue, found: Catalogue) -> list[Finding]:
    """The differences, problems first, then by relation."""
    findings = [*missing_or_different(expected, found), *unexpected(expected, found)]
    return sorted(findings, key=lambda item: (item.verdict != "problem", item.relation, item.object, item.finding))


def missing_or_different(expected: Catalogue, found: Catalogue) -> Iterator[Finding]:
    """What the schema has and the database lacks, or has otherwise."""
    for key, definition in expected.items():
        if is_part_of_missing(key, found):
            continue
        live = found.get(key)
        if live is None:
            what = {"not null": "allows NULL", "default": "has no default", "sequence": "does not own its sequence"}
            finding = what.get(key.kind, "is missing" if key.kind != "reads" else f"does not read {key.name}")
            other = renamed(key, definition, expected, found)
            if other:
                finding = f"is named {other} here"
            yield Finding("problem", key.relation, str(key), finding, definition, other, mend(key, definition, None))
        elif normalise(key.kind, live) != normalise(key.kind, definition):
            what = {
                "column": "has another type",
                "default": "has another default",
                "reads": f"reads other columns of {key.name}",
            }
            finding = what.get(key.kind, "differs")
            for state in ("DISABLED", "INVALID", "NOT VALID"):
                if state in live and state not in definition:
                    finding = f"is {state}"
            yield Finding("problem", key.relation, str(key), finding, definition, live, mend(key, definition, live))


def unexpected(expected: Catalogue, found: Catalogue) -> Iterator[Finding]:
    """What the database has besides the schema: worth a note, and a problem only where it refuses rows."""
    for key, live in found.items():
        if key in expected or is_part_of_missing(key, expected) or key.kind in ("sequence", "reads"):
            continue
        if key.kind == "not null" and ObjectKey("column", key.relation, key.name) in expected:
            yield Finding("problem", key.relation, str(key), "does not allow NULL", "NULL", live, mend(key, None, live))
        elif key.kind not in OF_COLUMN or ObjectKey("column", key.relation, key.name) in expected:
            yield Finding("note", key.relation, str(key), "is not in the schema", "", live, "")


def is_part_of_missing(key: ObjectKey, catalogue: Catalogue) -> bool:
    """Whether `catalogue` lacks the very relation or column that this object belongs to."""
    if key.relation and key.kind not in ("table", "view"):
        homes = (ObjectKey("table", key.relation, ""), ObjectKey("view", key.relation, ""))
        if not any(home in catalogue for home in homes):
            return True
    return key.kind in OF_COLUMN and ObjectKey("column", key.relation, key.name) not in catalogue


def renamed(key: ObjectKey, definition: str, expected: Catalogue, found: Mapping[ObjectKey, str]) -> str:
    """The name under which the same key, check or trigger exists, or ''."""
    if key.kind not in ("primary key", "unique", "foreign key", "check"):
        return ""
    wanted = normalise(key.kind, definition)
    for other, live in found.items():
        same_place = other.kind == key.kind and other.relation == key.relation and other not in expected
        if same_place and normalise(key.kind, live) == wanted:
            return other.name
    return ""
