"""Writing an archive, one transaction at a time."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

from iacalls_cli.operations.files import sync_folder, utc_now
from iacalls_cli.operations.maintain.archive.format import (
    JOURNAL,
    ArchivedFile,
    ArchiveManifest,
    Part,
    append_lines,
    close_archive,
    kept_parts,
    read_part,
    remove_folder,
    write_archive_manifest,
)
from iacalls_cli.operations.maintain.archive.rows import to_json_lines
from iacalls_cli.safe_files import UNFINISHED

LEVEL = 1
# So much goes to the compressor at once.
HANDED_BYTES = 1 << 18


@dataclass
class OpenFile:
    """A file that is being written: where it ends."""

    about: ArchivedFile
    handle: int
    size: int = 0


@dataclass
class ArchiveWriter:
    """The archive of a cleanup at work. One transaction is open at a time.

    `owed` are lines of the journal that the disk would not take; without them it is not closed.
    """

    folder: Path
    manifest: ArchiveManifest
    journal: int
    files: dict[tuple[int, str], OpenFile] = field(default_factory=dict)
    open_parts: list[tuple[OpenFile, Part]] = field(default_factory=list)
    xid: str = ""
    owed: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path, manifest: ArchiveManifest) -> "ArchiveWriter":
        """Make an archive's folder with its manifest, for its owner alone: at once whole, or not there."""
        made, journal = folder.with_name(folder.name + UNFINISHED), -1
        made.mkdir(mode=0o700)
        try:
            write_archive_manifest(made, manifest)
            journal = os.open(made / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            # What tells others that somebody lives who will bring it to its end.
            fcntl.flock(journal, fcntl.LOCK_EX)
            sync_folder(made)
            made.rename(folder)
            sync_folder(folder.parent)
        except BaseException:
            if journal >= 0:
                os.close(journal)
            shutil.rmtree(made, ignore_errors=True)
            raise
        return cls(folder, manifest, journal)

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
        part, written = PartWriter(file), None
        try:
            part.begin()
            yield part
            written = part.finish() if part.rows else None
        finally:
            part.end()
            if written is None:
                cut(file, file.size)
        if written is not None:
            file.size += written.bytes
            self.open_parts.append((file, written))

    def seal(self, xid: str) -> None:
        """Note the open parts as those of a transaction, on the disk; after that it may commit.

        Raises OSError where the disk is full, or the files are not where they were made any more.
        """
        places = [(JOURNAL, self.journal), *((part.path, file.handle) for file, part in self.open_parts)]
        for path, handle in places:
            if not os.path.samestat((self.folder / path).stat(), os.fstat(handle)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.folder / path))
        lines = [{**asdict(part), "xid": xid} for _, part in self.open_parts]
        self.xid = xid
        try:
            append_lines(self.journal, *self.owed, *lines, is_synced=True)
        except OSError:
            self.xid = ""
            raise
        self.owed = []

    def committed(self) -> None:
        """Note that the transaction is done."""
        if self.xid:
            self.note({"committed": self.xid})
        self.open_parts, self.xid = [], ""

    def aborted(self) -> None:
        """Take the parts of a transaction back that surely did not commit."""
        if self.xid:
            self.note({"aborted": self.xid})
        for file, part in reversed(self.open_parts):
            cut(file, part.offset)
            file.size = part.offset
        self.open_parts, self.xid = [], ""

    def note(self, line: dict[str, Any]) -> None:
        """A line of the journal that need not be on the disk at once: the server can be asked."""
        self.owed.append(line)
        with suppress(OSError):
            append_lines(self.journal, *self.owed, is_synced=False)
            self.owed = []

    def finish(self, state: str) -> bool:
        """Close the archive with its checksums; returns whether it holds rows: without any it is removed.

        It stays open where it is not known whether its last transaction committed. Raises OSError.
        """
        try:
            if self.open_parts:
                return True
            append_lines(self.journal, *self.owed, is_synced=True)
            if not kept_parts(self.folder):
                remove_folder(self.folder)
                return False
            for file in self.files.values():
                os.ftruncate(file.handle, file.size)
                os.fsync(file.handle)
            close_archive(self.folder, replace(self.manifest, state=state, ended_at=utc_now()))
            return True
        finally:
            for file in self.files.values():
                os.close(file.handle)
            os.close(self.journal)


class PartWriter:
    """The rows of one part on their way to the disk: turned, compressed and written beside what reads them."""

    def __init__(self, file: OpenFile) -> None:
        self.file, self.rows = file, 0
        self.pending: list[bytes] = []
        self.pending_bytes = self.size = 0
        self.digest = hashlib.sha256()
        self.compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compressobj()
        self.worker, self.task = ThreadPoolExecutor(1), Future[None]()
        self.task.set_result(None)

    def begin(self) -> None:
        """The first line of a file names the columns."""
        if self.file.size == 0:
            columns = json.dumps(self.file.about.columns, ensure_ascii=False).encode()
            self.put(self.compressor.compress(columns + b"\n"))

    def write(self, rows: Sequence[bytes | bytearray | memoryview]) -> None:
        """Take rows of COPY's text format."""
        piece = b"".join(rows)
        self.rows += len(rows)
        self.pending.append(piece)
        self.pending_bytes += len(piece)
        if self.pending_bytes >= HANDED_BYTES:
            self.hand_over()

    def hand_over(self) -> None:
        """Have what came together written, once what came before is."""
        self.task.result()
        self.task = self.worker.submit(self.store, self.pending)
        self.pending, self.pending_bytes = [], 0

    def store(self, pieces: Sequence[bytes]) -> None:
        """Compress and write some rows."""
        for piece in pieces:
            self.put(self.compressor.compress(to_json_lines(piece)))

    def end(self) -> None:
        """Let the work beside come to its end, whatever that is."""
        self.worker.shutdown(cancel_futures=True)

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
        if self.pending:
            self.hand_over()
        self.task.result()
        self.put(self.compressor.flush())
        os.fsync(self.file.handle)
        part = Part(self.file.about.path, self.file.size, self.size, self.rows, self.digest.hexdigest(), "")
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.handle, part.offset, part.bytes, os.POSIX_FADV_DONTNEED)
        for _ in read_part(self.file.handle, part, has_header=part.offset == 0):
            pass
        return part


def cut(file: OpenFile, size: int) -> None:
    """Cut a file behind so many bytes."""
    with suppress(OSError):
        os.ftruncate(file.handle, size)
