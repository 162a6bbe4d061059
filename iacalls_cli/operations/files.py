"""Checksums of files, and the directories that hold backups and archives."""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from iacalls_cli.errors import IacallsError
from iacalls_cli.safe_files import Folder, open_folder, require_directory

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class StoredFile:
    """A file of a backup or an archive: its path in that one's folder, size in bytes, SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


def hash_file(folder: Folder, path: str) -> StoredFile:
    """Read a file of `folder` whole, and say what it is; raises `DamagedFile` for what is no regular file."""
    with open_folder(folder) as opened, os.fdopen(opened.open(path), "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return StoredFile(path, file.tell(), digest)


def hash_files(folder: Folder, paths: Iterable[str]) -> tuple[StoredFile, ...]:
    """Read several files of `folder` whole."""
    return tuple(hash_file(folder, path) for path in sorted(paths))


def write_file(path: Path, text: str) -> None:
    """Write a small file that is complete or not there, for its owner alone; raises `ForeignFile` and OSError."""
    with named_disk(path), open_folder(path.parent) as folder:
        folder.write(path.name, text)


@contextmanager
def named_disk(path: Path) -> Iterator[None]:
    """Let an error of the disk say which one: a write that finds no space does not name its file."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def utc_now() -> str:
    """Now, as the manifest writes times."""
    return as_utc(datetime.now(UTC))


def as_utc(moment: datetime) -> str:
    """A moment, as the manifest writes times."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def make_folder(directory: Path) -> None:
    """Make a folder for its owner alone where it is missing; raises `IacallsError` where one cannot write there."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise IacallsError(
            f"cannot make the folder {error.filename}: {error.strerror}", "name another one with --directory"
        ) from None
    if not os.access(directory, os.W_OK | os.X_OK):
        raise IacallsError(f"cannot write to the folder {directory}", "name another one with --directory")
    with open_folder(directory, is_followed=True) as opened:
        require_directory(opened)


def free_bytes(directory: Path) -> int:
    """The room that is left for this user on the disk of a folder, which need not exist yet."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
