"""The archive of one cleanup: every row that goes, on the disk and read back before its delete commits.

A folder holds one compressed file of JSON lines for each table, `manifest.json` that says what they
are, and `journal.jsonl`: one line for each part of a file that one transaction wrote, with its
checksum and the number of that transaction. A file is parts one behind the other, and each is a
whole zstd frame: `zstd -dc FILE` shows all rows, the first line names the columns. Whether the
transaction of the last part committed is asked from the server, should nobody have lived to write it
down. `SHA256SUMS` comes last: an archive without it has not been closed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import zstandard

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.dated_directories import render_sums
from iacalls_cli.operations.files import hash_file, write_file
from iacalls_cli.safe_files import Folder, is_plain_name, open_folder, require_own
from iacalls_cli.stored_json import digest_of, list_of, number_of, parse_json, text_of, texts_of, time_of

FORMAT_VERSION = 1
MANIFEST, JOURNAL, SUMS, UNDONE = "manifest.json", "journal.jsonl", "SHA256SUMS", "undone.json"
RUNNING = "running"
REMOVED = ".removed"
PIECE_BYTES = 1 << 20
MOST_BYTES, MOST_JOURNAL_BYTES = 64 << 20, 1 << 30


@dataclass(frozen=True)
class ArchivedFile:
    """A file of rows of one table. `action` is deleted, or changed: rows that lost a reference, as they were."""

    path: str
    schema: str
    table: str
    action: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: tuple[str, ...]
    rule: str = ""


@dataclass(frozen=True)
class ArchiveManifest:
    """What an archive is of. `files` stand in the order of deletion, children before parents. Times are UTC."""

    id: str
    database: dict[str, str]
    iacalls: str
    started_at: str
    rules: tuple[dict[str, Any], ...]
    files: tuple[ArchivedFile, ...] = ()
    ended_at: str = ""
    state: str = RUNNING
    deleted: int = 0
    changed: int = 0
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class Part:
    """What one transaction wrote into one file."""

    path: str
    offset: int
    bytes: int
    rows: int
    sha256: str
    xid: str


def parse_manifest(content: dict[str, Any]) -> ArchiveManifest:
    """A manifest from its JSON; raises ValueError, TypeError or KeyError for another one."""
    if number_of(content["format_version"]) != FORMAT_VERSION:
        raise ValueError(content["format_version"])
    files = tuple(map(parse_file, list_of(content["files"])))
    # A file system may take names for one another that differ in case alone.
    names = [name.casefold() for name in (MANIFEST, JOURNAL, SUMS, UNDONE, *(file.path for file in files))]
    if len(set(names)) < len(names) or not isinstance(content["database"], dict):
        raise ValueError(names)
    rules = list_of(content["rules"])
    if not all(isinstance(rule, dict) for rule in rules):
        raise TypeError(rules)
    known = {item.name: content[item.name] for item in fields(ArchiveManifest)}
    return ArchiveManifest(
        **{
            **known,
            "id": text_of(content["id"]),
            "database": {text_of(key): text_of(value) for key, value in content["database"].items()},
            "iacalls": text_of(content["iacalls"]),
            "started_at": time_of(content["started_at"]),
            "ended_at": "" if content["ended_at"] == "" else time_of(content["ended_at"]),
            "state": text_of(content["state"]),
            "deleted": number_of(content["deleted"]),
            "changed": number_of(content["changed"]),
            "files": files,
            "rules": tuple(rules),
        }
    )


def parse_file(content: dict[str, Any]) -> ArchivedFile:
    """A file's entry from its JSON: a plain name in the archive's directory, and what its columns are."""
    texts = {key: text_of(content[key]) for key in ("path", "schema", "table", "action", "rule")}
    lists = {key: texts_of(content[key]) for key in ("columns", "types", "key")}
    if not is_plain_name(texts["path"]) or texts["action"] not in ("deleted", "changed"):
        raise ValueError(texts)
    if len(lists["columns"]) != len(lists["types"]) or not set(lists["key"]) <= set(lists["columns"]):
        raise ValueError(lists)
    known: dict[str, Any] = {**texts, **lists}
    return ArchivedFile(**known)


def parse_part(content: dict[str, Any]) -> Part:
    """A part from its line of the journal; raises ValueError, TypeError or KeyError for another one."""
    part = Part(**content)
    for number in (part.offset, part.bytes, part.rows, int(text_of(part.xid))):
        number_of(number)
    text_of(part.path), digest_of(part.sha256)
    return part


def write_archive_manifest(folder: Path, manifest: ArchiveManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n")


def read_part(handle: int, part: Part, *, has_header: bool) -> Iterator[bytes]:
    """The decompressed content of a part in pieces; raises `IacallsError` unless it is what was written."""
    digest, lines, position = hashlib.sha256(), 0, part.offset
    end = part.offset + part.bytes
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    try:
        while position < end:
            data = os.pread(handle, min(PIECE_BYTES, end - position), position)
            if not data:
                break
            position += len(data)
            digest.update(data)
            content = decompressor.decompress(data)
            lines += content.count(b"\n")
            yield content
    except zstandard.ZstdError as error:
        raise IacallsError(f"{part.path} is damaged: {error}") from None
    if position < end or digest.hexdigest() != part.sha256 or lines - has_header != part.rows:
        raise IacallsError(f"{part.path} is damaged: its checksum differs")


def part_rows(folder: Path, file: ArchivedFile, part: Part) -> Iterator[bytes]:
    """The JSON lines of a part; raises `IacallsError` at the end where it is damaged."""
    with open_folder(folder) as opened:
        handle = opened.open(file.path)
    try:
        rest, is_first = b"", part.offset == 0
        for content in read_part(handle, part, has_header=is_first):
            *lines, rest = (rest + content).split(b"\n")
            yield from lines[1:] if is_first and lines else lines
            is_first = is_first and not lines
    finally:
        os.close(handle)


def read_journal(folder: Folder) -> tuple[list[Part], dict[str, str]]:
    """The parts that were written, and what is known of their transactions: committed or aborted."""
    parts: list[Part] = []
    outcomes: dict[str, str] = {}
    with open_folder(folder) as opened:
        lines = opened.read(JOURNAL, MOST_JOURNAL_BYTES).split(b"\n")[:-1]
    for line in lines:
        try:
            content = parse_json(line)
            if "path" in content:
                parts.append(parse_part(content))
            else:
                ((outcome, xid),) = content.items()
                outcomes[text_of(xid)] = outcome
        except (ValueError, TypeError, KeyError):
            raise IacallsError(f"{folder.name}: {JOURNAL} is damaged", "restore it from a copy") from None
    return parts, outcomes


def kept_parts(folder: Folder) -> list[Part]:
    """The parts whose rows went, or may have: every one that is not known to be aborted.

    What stands behind the journal's last line break was being written, and its transaction cannot have committed.
    """
    parts, outcomes = read_journal(folder)
    return [part for part in parts if outcomes.get(part.xid) != "aborted"]


@contextmanager
def journal_lock(folder: Path) -> Iterator[int | None]:
    """A handle on the journal that nobody else has locked, or None: then a process lives that is at work on it.

    Raises `ForeignFile` for an archive that is not ours, `DamagedFile` for what is no journal, and OSError.
    """
    with open_folder(folder) as opened:
        require_own(opened.status, folder)
        handle = opened.open(JOURNAL, os.O_RDWR | os.O_APPEND)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield handle
    finally:
        os.close(handle)


def append_lines(handle: int, *lines: dict[str, Any], is_synced: bool) -> None:
    """Write lines at the end of a journal, all of them or none; raises OSError where the disk is full."""
    size = os.fstat(handle).st_size
    view = memoryview("".join(json.dumps(line) + "\n" for line in lines).encode())
    try:
        while view:
            view = view[os.write(handle, view) :]
        if is_synced:
            os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, size)
        raise


def count_rows(folder: Folder, manifest: ArchiveManifest) -> ArchiveManifest:
    """The manifest with the rows of all kept parts; raises KeyError for a part of an unknown file."""
    actions = {file.path: file.action for file in manifest.files}
    rows = {"deleted": 0, "changed": 0}
    for part in kept_parts(folder):
        rows[actions[part.path]] += part.rows
    return replace(manifest, deleted=rows["deleted"], changed=rows["changed"])


def close_archive(folder: Path, manifest: ArchiveManifest) -> None:
    """Write the final manifest, then the checksums of everything, which `sha256sum -c` reads.

    Files whose rows all stayed where they were are removed.
    """
    full = {part.path for part in kept_parts(folder)}
    files = tuple(file for file in manifest.files if file.path in full)
    write_archive_manifest(folder, count_rows(folder, replace(manifest, files=files)))
    for file in manifest.files:
        if file.path not in full:
            with open_folder(folder) as opened:
                opened.remove_file(file.path)
    names = [MANIFEST, JOURNAL, *(file.path for file in files)]
    write_file(folder / SUMS, render_sums({name: hash_file(folder, name).sha256 for name in names}))


def read_sums(folder: Folder) -> dict[str, str] | None:
    """The checksums by name; None for an archive that was not closed, raises ValueError for other content."""
    try:
        with open_folder(folder) as opened:
            lines = opened.read(SUMS, MOST_BYTES).decode("utf-8").splitlines()
    except FileNotFoundError:
        return None
    sums = {name: digest_of(digest) for digest, name in (line.split("  ", 1) for line in lines)}
    if not all(map(is_plain_name, sums)):
        raise ValueError(SUMS)
    return sums


def remove_folder(folder: Path) -> None:
    """Remove an archive of ours; raises `ForeignFile` for another one, and OSError."""
    with open_folder(folder.parent, is_followed=True) as directory:
        directory.remove(folder.name, folder.name + REMOVED)
