"""The structure of schema public at the time of a backup, to compare a restored copy with."""

import json
from pathlib import Path

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.db.expected import Catalogue, ObjectKey
from iacalls_cli.operations.files import write_file
from iacalls_cli.safe_files import Folder, list_of, load_json, open_folder, texts_of

CATALOGUE = "catalogue.json"
MOST_BYTES = 256 << 20


def write_catalogue(folder: Path, catalogue: Catalogue) -> None:
    """Write it into a backup's folder."""
    rows = [[key.kind, key.relation, key.name, catalogue[key]] for key in sorted(catalogue)]
    write_file(folder / CATALOGUE, json.dumps(rows, ensure_ascii=False, indent=0) + "\n")


def load_catalogue(folder: Folder) -> Catalogue:
    """Read it again; raises `IacallsError` for what is none."""
    with open_folder(folder) as opened:
        content = opened.read(CATALOGUE, MOST_BYTES)
    try:
        rows = [texts_of(row) for row in list_of(load_json(content))]
        return {ObjectKey(kind, relation, name): definition for kind, relation, name, definition in rows}
    except (ValueError, TypeError):
        raise IacallsError(f"{CATALOGUE} is damaged") from None
