"""The structure of schema public at the time of a backup, to compare a restored copy with."""

import json
from pathlib import Path

from iacalls_cli.operations.db.expected import LATER_KINDS, Catalogue, ObjectKey
from iacalls_cli.operations.files import write_file

CATALOGUE = "catalogue.json"


# Says that attributes without a row were not there, which format 1 did not look at.
FORMAT = ["format", "", "", "2"]
# What pg_dump does not write comes back otherwise from every restore.
NOT_DUMPED = ("disabled key",)


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write it into a backup's folder."""
    rows = [[key.kind, key.relation, key.name, catalogue[key]] for key in sorted(catalogue)]
    write_file(folder / CATALOGUE, json.dumps([FORMAT, *rows], ensure_ascii=False, indent=0) + "\n")


def load_catalogue(folder: Path) -> Catalogue:
    """Read it again, without the row that tells its format."""
    rows = json.loads((folder / CATALOGUE).read_text("utf-8"))
    return {ObjectKey(kind, relation, name): text for kind, relation, name, text in rows if kind != FORMAT[0]}


def uncompared_kinds(folder: Path) -> tuple[str, ...]:
    """Return the kinds that a restored database is not compared in: those that the backup's format lacks."""
    rows = json.loads((folder / CATALOGUE).read_text("utf-8"))
    return NOT_DUMPED if FORMAT in rows else LATER_KINDS
