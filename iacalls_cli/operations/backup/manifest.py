"""What a backup says of itself: `manifest.json`, and `SHA256SUMS` over it and every other file.

Both are written once. `sha256sum -c SHA256SUMS` checks them by hand.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.dump import CONTENTS, FORMATS, NAMES
from iacalls_cli.operations.dated_directories import render_sums
from iacalls_cli.operations.files import StoredFile, hash_file, write_file
from iacalls_cli.safe_files import Folder, open_folder
from iacalls_cli.stored_json import digest_of, list_of, number_of, parse_json, path_of, text_of, texts_of, time_of
from iacalls_cli.text import relation_name

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
PROOF = "proof.json"
# Of a database with 100,000 tables, in directory format, it has less.
MOST_BYTES = 64 << 20
# How a version begins: 18.6, 19beta1.
MAJOR = re.compile(r"\d{1,4}(?!\d)", re.ASCII)
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
        return major_of(self.client)

    @property
    def server_major(self) -> int:
        """The major version of the server it is of; 0 where it is not written down."""
        return major_of(self.database.get("server_version", "0"))

    @property
    def group(self) -> tuple[str, str, str]:
        """What is compared with one another and kept together: a database, and what of it."""
        return self.database["system_identifier"], self.database["name"], self.contents


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and the checksums of everything."""
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n")
    own = hash_file(folder, MANIFEST)
    write_file(folder / SUMS, render_sums({MANIFEST: own.sha256, **manifest.sums}))


def read_manifest(folder: Folder) -> Manifest:
    """Read a backup's manifest; raises `IacallsError` saying what is wrong with it.

    Its checksum is compared as well: a manifest that was changed is not obeyed.
    """
    try:
        with open_folder(folder) as opened:
            text = opened.read(MANIFEST, MOST_BYTES)
            sums = opened.read(SUMS, MOST_BYTES)
    except FileNotFoundError as error:
        raise IacallsError(f"{Path(error.filename).name} is missing") from None
    own = hashlib.sha256(text).hexdigest()
    if not sums.startswith(f"{own}  {MANIFEST}\n".encode()):
        raise IacallsError(f"{MANIFEST} or {SUMS} was changed: the checksum differs")
    try:
        manifest = parse_manifest(parse_json(text))
    except (ValueError, TypeError, KeyError):
        raise IacallsError(f"{MANIFEST} is not one of this version of iacalls") from None
    # To the byte: another end of line would read the same here, and not in sha256sum.
    if sums != render_sums({MANIFEST: own, **manifest.sums}).encode():
        raise IacallsError(f"{SUMS} was changed: it differs from {MANIFEST}")
    return manifest


def parse_manifest(content: dict[str, Any]) -> Manifest:
    """A manifest from its JSON; raises ValueError, TypeError or KeyError for another one."""
    if number_of(content["format_version"]) != FORMAT_VERSION:
        raise ValueError(content["format_version"])
    missing = {field.name for field in fields(Manifest)} - set(content)
    if missing:
        raise KeyError(*missing)
    head = content["migration_head"]
    content |= {
        **{key: text_of(content[key]) for key in ("id", "label", "contents", "format", "compression", "iacalls")},
        **{key: time_of(content[key]) for key in ("snapshot_at", "started_at", "ended_at")},
        "database": parse_database(content["database"]),
        "client": version_of(content["client"]),
        "migration_head": None if head is None else text_of(head),
        "tables": tuple(map(parse_table, list_of(content["tables"]))),
        "large_objects": number_of(content["large_objects"]),
        "reports": texts_of(content["reports"]),
        "files": parse_files(content["files"], content["format"]),
        "not_included": texts_of(content["not_included"]),
    }
    if content["format"] not in FORMATS or content["contents"] not in CONTENTS:
        raise ValueError(content["format"], content["contents"])
    return Manifest(**content)


def parse_database(content: Any) -> dict[str, Any]:
    """What is known of the database; its name and its server's number are never missing."""
    if not isinstance(content, dict):
        raise TypeError(content)
    for key, value in content.items():
        if isinstance(value, str):
            text_of(value)
        elif value is not None and not isinstance(value, bool | int):
            raise TypeError(key)
    text_of(content["name"]), text_of(content["system_identifier"])
    if "server_version" in content:
        version_of(content["server_version"])
    return content


def parse_table(content: Any) -> TableRows:
    """The rows of a table, from JSON."""
    table = TableRows(**content)
    text_of(table.schema), text_of(table.name), number_of(table.rows), number_of(table.bytes)
    return table


def parse_files(content: Any, form: object) -> tuple[StoredFile, ...]:
    """The files, from JSON: each a plain name of its own, and only a directory dump has files in a directory.

    A file system may take names for one another that differ in case alone.
    """
    files = tuple(StoredFile(**file) for file in list_of(content))
    for file in files:
        path_of(file.path), number_of(file.bytes), digest_of(file.sha256)
        parent = file.path.rpartition("/")[0]
        if parent and (form != "directory" or parent != NAMES["directory"]):
            raise ValueError(file.path)
    names = [name.casefold() for name in (MANIFEST, SUMS, PROOF, *(file.path for file in files))]
    if len(set(names)) < len(names):
        raise ValueError(names)
    return files


def version_of(value: object) -> str:
    """The version of a program or server, as it tells it itself."""
    if not MAJOR.match(text_of(value)):
        raise ValueError(value)
    return text_of(value)


def major_of(version: str) -> int:
    """The major version."""
    match = MAJOR.match(version)
    return int(match[0]) if match else 0
