"""The structure of schema public at the time of a backup, to compare a restored copy with."""

import json
from pathlib import Path

from iacalls_cli.operations.db.expected import Catalogue, ObjectKey
from iacalls_cli.operations.files import write_file

CATALOGUE = "catalogue.json"


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write it into a backup's folder."""
    rows = [[key.kind, key.relation, key.name, catalogue[key]] for key in sorted(catalogue)]
    write_file(folder / CATALOGUE, json.dumps(rows, ensure_ascii=False, indent=0) + "\n")


def load_catalogue(folder: Path) -> Catalogue:
    """Read it again."""
    rows = json.loads((folder / CATALOGUE).read_text("utf-8"))
    return {ObjectKey(kind, relation, name): definition for kind, relation, name, definition in rows}
