"""The structure of schema public at the time of a backup, to compare a restored copy with."""

import json
from pathlib import Path

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.db.catalog import LATER_KINDS, Catalogue, ObjectKey
from iacalls_cli.operations.files import write_file
from iacalls_cli.safe_files import Folder, open_folder
from iacalls_cli.stored_json import list_of, load_json, texts_of

CATALOGUE = "catalogue.json"
MOST_BYTES = 256 << 20


# Says that attributes without a row were not there, which format 1 did not look at.
FORMAT = ("format", "", "", "2")
# What pg_dump does not write comes back otherwise from every restore.
NOT_DUMPED = ("disabled key",)


def write_catalog(folder: Path, catalogue: Catalogue) -> None:
    """Write it into a backup's folder."""
    rows = [[key.kind, key.relation, key.name, catalogue[key]] for key in sorted(catalogue)]
    write_file(folder / CATALOGUE, json.dumps([FORMAT, *rows], ensure_ascii=False, indent=0) + "\n")


def load_catalog(folder: Folder) -> tuple[Catalogue, tuple[str, ...]]:
    """Read it again, with the kinds that a restored database is not compared in: its format lacks them.

    Raises `IacallsError` for what is none.
    """
    with open_folder(folder) as opened:
        content = opened.read(CATALOGUE, MOST_BYTES)
    try:
        rows = [tuple(texts_of(row)) for row in list_of(load_json(content))]
        catalogue = {ObjectKey(kind, relation, name): text for kind, relation, name, text in rows if kind != FORMAT[0]}
    except (ValueError, TypeError):
        raise IacallsError(f"{CATALOGUE} is damaged") from None
    return catalogue, NOT_DUMPED if FORMAT in rows else LATER_KINDS
