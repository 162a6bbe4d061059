"""What a backup says of itself: `manifest.json`, and `SHA256SUMS` over it and every other file.

Both are written once. `sha256sum -c SHA256SUMS` checks them by hand.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.files import StoredFile, hash_file, write_file
from iacalls_cli.text import relation_name

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
# Known from the application (its WhatsApp bodies are in another store) and from pg_dump.
NOT_INCLUDED = (
    "files in cloud storage: only their names and addresses are in the database",
    "WhatsApp message bodies that the application keeps in Firestore",
    "roles and their passwords: pg_dumpall --roles-only writes those",
    "settings of the server, and of other databases on it",
)


@dataclass(frozen=True)
class TableRows:
    """A table's rows in the backup's snapshot, and its size on the server's disk in bytes."""

    schema: str
    name: str
    rows: int
    bytes: int

    def __str__(self) -> str:
        return relation_name(self.schema, self.name)


@dataclass(frozen=True)
class Manifest:
    """What was backed up, by what, when, and which files hold it. Times are UTC, ISO 8601."""

    id: str
    label: str
    contents: str
    format: str
    compression: str
    database: dict[str, Any]
    client: str
    iacalls: str
    migration_head: str | None
    snapshot_at: str
    started_at: str
    ended_at: str
    tables: tuple[TableRows, ...]
    large_objects: int
    reports: tuple[str, ...]
    files: tuple[StoredFile, ...]
    not_included: tuple[str, ...] = NOT_INCLUDED
    format_version: int = FORMAT_VERSION

    @property
    def size(self) -> int:
        """Bytes of the archive's files together."""
        return sum(file.bytes for file in self.files)

    @property
    def sums(self) -> dict[str, str]:
        """The SHA-256 of each of the archive's files, by its path."""
        return {file.path: file.sha256 for file in self.files}

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(table.rows for table in self.tables)

    @property
    def taken(self) -> datetime:
        """The moment of the snapshot: what the backup holds is the database of then."""
        return datetime.fromisoformat(self.snapshot_at)

    @property
    def client_major(self) -> int:
        """The major version of the pg_dump that wrote it: an older pg_restore cannot read it."""
        return int(self.client.split(".")[0])

    @property
    def server_major(self) -> int:
        """The major version of the server it is of."""
        return int(self.database["server_version"].split(".")[0])

    @property
    def group(self) -> tuple[str, str, str]:
        """What is compared with one another and kept together: a database, and what of it."""
        return self.database["system_identifier"], self.database["name"], self.contents


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and the checksums of everything."""
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n")
    own = hash_file(folder, MANIFEST)
    write_file(folder / SUMS, render_sums(own.sha256, manifest))


def render_sums(own: str, manifest: Manifest) -> str:
    """The text of SHA256SUMS; `own` is the manifest's digest."""
    return "".join(f"{digest}  {path}\n" for path, digest in ((MANIFEST, own), *manifest.sums.items()))


def read_manifest(folder: Path) -> Manifest:
    """Read a backup's manifest; raises `IacallsError` saying what is wrong with it.

    Its checksum is compared as well: a manifest that was changed is not obeyed.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        sums = (folder / SUMS).read_bytes()
    except FileNotFoundError as error:
        raise IacallsError(f"{Path(error.filename).name} is missing") from None
    own = hashlib.sha256(text).hexdigest()
    if not sums.startswith(f"{own}  {MANIFEST}\n".encode()):
        raise IacallsError(f"{MANIFEST} or {SUMS} was changed: the checksum differs")
    try:
        manifest = parse_manifest(json.loads(text))
    except (ValueError, TypeError, KeyError):
        raise IacallsError(f"{MANIFEST} is not one of this version of iacalls") from None
    # To the byte: another end of line would read the same here, and not in sha256sum.
    if sums != render_sums(own, manifest).encode():
        raise IacallsError(f"{SUMS} was changed: it differs from {MANIFEST}")
    return manifest


def parse_manifest(content: dict[str, Any]) -> Manifest:
    """A manifest from its JSON; raises ValueError, TypeError or KeyError for another one."""
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(content["format_version"])
    content["tables"] = tuple(TableRows(**table) for table in content["tables"])
    content["files"] = tuple(StoredFile(**file) for file in content["files"])
    for field in fields(Manifest):
        if isinstance(content[field.name], list):
            content[field.name] = tuple(content[field.name])
    return Manifest(**content)
