"""The archive of one cleanup: every row that goes, on the disk and read back before its delete commits.

A folder holds one compressed file of JSON lines for each table, `manifest.json` that says what they
are, and `journal.jsonl`: one line for each part of a file that one transaction wrote, with its
checksum and the number of that transaction. A file is parts one behind the other, and each is a
whole zstd frame: `zstd -dc FILE` shows all rows, the first line names the columns. Whether the
transaction of the last part committed is asked from the server, should nobody have lived to write it down.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import zstandard

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.files import hash_file, sync_folder, utc_now, write_file
from iacalls_cli.operations.maintain.rowtext import to_json_lines

FORMAT_VERSION = 1
MANIFEST, JOURNAL, SUMS = "manifest.json", "journal.jsonl", "SHA256SUMS"
RUNNING = "running"
PIECE_BYTES = 1 << 20
LEVEL = 1


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
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(content["format_version"])
    files = tuple(parse_file(file) for file in content["files"])
    known = {item.name: content[item.name] for item in fields(ArchiveManifest)}
    return ArchiveManifest(**{**known, "files": files, "rules": tuple(content["rules"])})


def parse_file(content: dict[str, Any]) -> ArchivedFile:
    """A file's entry from its JSON."""
    known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    return ArchivedFile(**known)


def write_archive_manifest(folder: Path, manifest: ArchiveManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_file(folder / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n")


@dataclass
class OpenFile:
    """A file that is being written: where it ends."""

    about: ArchivedFile
    handle: int
    size: int = 0


@dataclass
class ArchiveWriter:
    """The archive of a cleanup at work. One transaction is open at a time."""

    folder: Path
    manifest: ArchiveManifest
    files: dict[tuple[int, str], OpenFile] = field(default_factory=dict)
    journal: int = -1
    open_parts: list[tuple[OpenFile, Part]] = field(default_factory=list)
    xid: str = ""

    def __post_init__(self) -> None:
        """Make the folder with its manifest, for its owner alone."""
        self.folder.mkdir(mode=0o700)
        write_archive_manifest(self.folder, self.manifest)
        self.journal = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        # What tells others that somebody lives who will bring it to its end.
        fcntl.flock(self.journal, fcntl.LOCK_EX)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)

    def file(self, oid: int, about: ArchivedFile) -> OpenFile:
        """The file for a table's rows, made and told in the manifest when first asked for."""
        key = oid, about.action
        if key not in self.files:
            handle = os.open(self.folder / about.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            self.files[key] = OpenFile(about, handle)
            self.manifest = replace(self.manifest, files=(*self.manifest.files, about))
            write_archive_manifest(self.folder, self.manifest)
        return self.files[key]

    @contextmanager
    def part(self, file: OpenFile) -> Iterator["PartWriter"]:
        """Write a part; at the end of the block its bytes are on the disk and were read back.

        Raises `IacallsError` where the disk gives back other bytes than it got, OSError when it is full.
        """
        part = PartWriter(file)
        try:
            yield part
        except BaseException:
            cut(file, file.size)
            raise
        if part.rows == 0:
            cut(file, file.size)
            return
        try:
            written = part.finish()
        except BaseException:
            cut(file, file.size)
            raise
        file.size += written.bytes
        self.open_parts.append((file, written))

    def seal(self, xid: str) -> None:
        """Note the open parts as those of a transaction, on the disk; after that it may commit."""
        lines = "".join(json.dumps({**asdict(part), "xid": xid}) + "\n" for _, part in self.open_parts)
        size = os.fstat(self.journal).st_size
        try:
            os.write(self.journal, lines.encode())
            os.fsync(self.journal)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self.journal, size)
            raise
        self.xid = xid

    def committed(self) -> tuple[int, int]:
        """Note that the transaction is done; returns how many rows were deleted, and changed."""
        rows = {"deleted": 0, "changed": 0}
        for file, part in self.open_parts:
            rows[file.about.action] += part.rows
        if self.open_parts:
            self.note({"committed": self.xid})
        self.open_parts, self.xid = [], ""
        self.manifest = replace(
            self.manifest,
            deleted=self.manifest.deleted + rows["deleted"],
            changed=self.manifest.changed + rows["changed"],
        )
        return rows["deleted"], rows["changed"]

    def aborted(self) -> None:
        """Take the parts of a transaction back that surely did not commit."""
        if self.xid:
            self.note({"aborted": self.xid})
        for file, part in reversed(self.open_parts):
            cut(file, part.offset)
            file.size = part.offset
        self.open_parts, self.xid = [], ""

    def note(self, line: dict[str, str]) -> None:
        """A line of the journal; should it be missing one day, the server can be asked."""
        with suppress(OSError):
            os.write(self.journal, (json.dumps(line) + "\n").encode())

    def finish(self, state: str) -> None:
        """Close the archive with its checksums, unless it is not known whether its last transaction committed."""
        for file in self.files.values():
            os.close(file.handle)
        if not self.open_parts:
            os.fsync(self.journal)
            close_archive(self.folder, replace(self.manifest, state=state, ended_at=utc_now()))
        os.close(self.journal)


class PartWriter:
    """The rows of one part on their way to the disk."""

    def __init__(self, file: OpenFile) -> None:
        self.file, self.rows = file, 0
        self.pending: list[bytes] = []
        self.pending_bytes = self.size = 0
        self.digest = hashlib.sha256()
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        if file.size == 0:
            self.put(self.compressor.compress(json.dumps(file.about.columns, ensure_ascii=False).encode() + b"\n"))

    def write(self, row: bytes) -> None:
        """Take one row of COPY's text format."""
        self.pending.append(row)
        self.pending_bytes += len(row)
        self.rows += 1
        if self.pending_bytes >= PIECE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Compress and write what has come together."""
        if self.pending:
            self.put(self.compressor.compress(to_json_lines(b"".join(self.pending))))
            self.pending, self.pending_bytes = [], 0

    def put(self, data: bytes) -> None:
        """Write compressed bytes behind the file's end."""
        self.digest.update(data)
        view = memoryview(data)
        while view:
            done = os.pwrite(self.file.handle, view, self.file.size + self.size)
            self.size += done
            view = view[done:]

    def finish(self) -> Part:
        """Everything to the disk, and read back from there."""
        self.flush()
        self.put(self.compressor.flush())
        os.fsync(self.file.handle)
        part = Part(self.file.about.path, self.file.size, self.size, self.rows, self.digest.hexdigest(), "")
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.handle, part.offset, part.bytes, os.POSIX_FADV_DONTNEED)
        for _ in read_part(self.file.handle, part, has_header=part.offset == 0):
            pass
        return part


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


def cut(file: OpenFile, size: int) -> None:
    """Cut a file behind so many bytes."""
    with suppress(OSError):
        os.ftruncate(file.handle, size)


def close_archive(folder: Path, manifest: ArchiveManifest) -> None:
    """Write the final manifest, and the checksums of everything, which `sha256sum -c` reads."""
    write_archive_manifest(folder, manifest)
    names = [MANIFEST, JOURNAL, *(file.path for file in manifest.files)]
    write_file(folder / SUMS, "".join(f"{hash_file(folder, name).sha256}  {name}\n" for name in names))
