"""What is to be restored: a backup of ours, or a file or folder that pg_dump wrote."""

import itertools
import os
import secrets
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.homes import expand_user
from iacalls_cli.operations.backup.dump import TOC, archive_path
from iacalls_cli.operations.backup.manifest import MANIFEST, Manifest
from iacalls_cli.operations.backup.store import Backup, Source, Store, read_backup
from iacalls_cli.operations.backup.verify import compare_files, require_end
from iacalls_cli.operations.compression import decompress, is_compressed, read_chunks
from iacalls_cli.operations.dated_directories import LATEST
from iacalls_cli.safe_files import DamagedFile, OpenFolder, open_folder

ARCHIVE_MAGIC = b"PGDMP"
PLAIN_MAGIC = b"PostgreSQL database dump"
CLUSTER_MAGIC = b"PostgreSQL database cluster dump"
PLAIN_END = b"PostgreSQL database dump complete"
HEAD_BYTES = 4096
# What holds a dump and is none, by its first bytes, with the way to open it.
PACKINGS = {
    b"PK\x03\x04": ("a zip file", "unpack it (unzip {path}), and name the dump in it"),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "decompress it (lz4 -d {path}), and name the result"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip file", "unpack it (7z x {path}), and name the dump in it"),
    b"Rar!\x1a\x07": ("a RAR file", "unpack it (unrar x {path}), and name the dump in it"),
    b"\x89LZO": ("compressed by lzop", "decompress it (lzop -d {path}), and name the result"),
    b"LZIP": ("compressed by lzip", "decompress it (lzip -d {path}), and name the result"),
    b"SQLite format 3\x00": ("an SQLite database", "it is no dump of PostgreSQL"),
}
NAME_CHARACTERS = 60  # a file's name may be as long as the system lets any be
# The first pg_restore to read each version of the archive format; older ones are read by all of today's.
READERS = {15: 16, 16: 17}


@dataclass(frozen=True)
class Dump:
    """An archive: its format (custom, directory, tar, plain), and for a backup of ours what it says of itself.

    `passed_over` are later backups that are damaged.

    `major` is the oldest pg_restore that can read it. `is_stripped` is a plain one without the
    comments by which its end is known.
    """

    name: str
    path: Path
    format: str
    major: int
    backup: Backup | None = None
    is_stripped: bool = False
    passed_over: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest | None:
        """What our own backup says of itself."""
        return self.backup.manifest if self.backup else None

    def __str__(self) -> str:
        if self.manifest is None:
            return f"{self.name} ({self.format})"
        return f"{self.name} ({self.manifest.database['name']} of {self.manifest.taken:%Y-%m-%d %H:%M:%S} UTC)"

    @property
    def is_archive(self) -> bool:
        """Whether pg_restore reads it; a plain one is SQL."""
        return self.format != "plain"


def is_undamaged(backup: Backup) -> bool:
    """Whether nothing is known against a backup."""
    return backup.state != "damaged"


def is_readable(backup: Backup) -> bool:
    """Whether a backup can be restored at all; what an earlier restore test found may be gone with the next."""
    return backup.manifest is not None


def find_dump_file(
    store: Store,
    name: str,
    source: Callable[[], Source | None] = lambda: None,
    passes: Callable[[Backup], bool] = is_undamaged,
    *,
    is_plain: bool = False,
) -> Dump:
    """What an id or a path means; raises `UsageError` for a path that is no dump, or an unknown id.

    `source` is the target's server and database, for `latest` of several; one that `passes` refuses is
    passed over for it. `is_plain` says that a file is a plain dump though pg_dump's comments were
    stripped from it.
    """
    path = expand_user(Path(name))
    # A backup before a file that happens to have its name here.
    if "/" not in name and (not path.exists() or (store.directory / name).is_dir()):
        found = store.find(name, source, passes)
        return replace(of_backup(found), passed_over=damaged_later(store, name, found))
    if not path.exists():
        raise UsageError(f"there is no file {name}", "check the path; `iacalls backup list` shows the backups")
    if not path.is_file() and not path.is_dir():
        raise UsageError(f"{name} is neither a file nor a folder", "name a file or folder that pg_dump wrote")
    if (path / MANIFEST).exists():
        # Whoever names a link means what it points to; a link in the store is no backup.
        return of_backup(read_backup(path.resolve()))
    if is_plain and path.is_file() and not is_archive_head(next(read_chunks(path), b"")):
        return Dump(path.name, path.absolute(), "plain", 0, is_stripped=True)
    archive_format, major = read_format(path)
    return Dump(path.name, path.absolute(), archive_format, major)


def damaged_later(store: Store, name: str, found: Backup) -> tuple[str, ...]:
    """Return the damaged backups that are later than the one found for a name that means the latest."""
    if name not in (*LATEST, found.database):
        return ()
    later = itertools.takewhile(lambda backup: backup.id != found.id, store.backups())
    return tuple(backup.id for backup in later if backup.state == "damaged" and backup.database in ("", found.database))


def of_backup(backup: Backup) -> Dump:
    """The archive of a backup of ours; raises `IacallsError` for one whose manifest is damaged."""
    if backup.manifest is None:
        raise IacallsError(f"{backup.id} is damaged: {backup.problem}", "restore another one; `iacalls backup list`")
    path = archive_path(backup.folder)
    return Dump(backup.id, path, backup.manifest.format, backup.manifest.client_major, backup)


def read_format(path: Path) -> tuple[str, int]:
    """The format of what pg_dump wrote, and the oldest pg_restore for it."""
    if path.is_dir():
        return "directory", read_directory_format(path)
    head = next(read_chunks(path), b"")[:HEAD_BYTES]
    if head.startswith(ARCHIVE_MAGIC):
        return "custom", reader_of(head)
    if head[257:262] == b"ustar" and head.startswith(TOC.encode() + b"\0"):
        return "tar", reader_of(head[tarfile.BLOCKSIZE :])
    if CLUSTER_MAGIC in head:
        raise UsageError(f"{path} is of pg_dumpall: roles and all databases", "run it with psql on an empty server")
    if packing := packing_of(head):
        raise UsageError(f"{path} is {packing[0]}", packing[1].format(path=shlex.quote(str(path))))
    if PLAIN_MAGIC in head:
        return "plain", 0
    raise UsageError(
        f"{path} is not a dump that pg_dump wrote",
        "it takes custom, directory, tar and plain ones, also compressed by gzip, zstd, xz or bzip2; "
        "a plain one whose comments were stripped is restored with --plain",
    )


def is_archive_head(head: bytes) -> bool:
    """Whether a file begins as one of pg_dump's archives, or as something that holds other files."""
    return head.startswith(ARCHIVE_MAGIC) or head[257:262] == b"ustar" or bool(packing_of(head))


def packing_of(head: bytes) -> tuple[str, str] | None:
    """What a file is, by its first bytes, that another program opens, and how; None for others."""
    if head[257:262] == b"ustar":
        return (
            "a tar file of other files, not a dump in tar format",
            "unpack it (tar -xf {path}), and name the dump in it",
        )
    return next((words for magic, words in PACKINGS.items() if head.startswith(magic)), None)


def read_directory_format(path: Path) -> int:
    """The oldest pg_restore for a dump in directory format; raises `UsageError` for what is none.

    Everything in it has to be a regular file: on a FIFO pg_restore would wait for ever.
    """
    with open_folder(path, is_followed=True) as folder:
        if folder.look_at(TOC) is None:
            raise UsageError(f"{path} is a folder without {TOC}", "name a file or folder that pg_dump wrote")
        try:
            for name in folder.entries():
                head = read_head(folder, name)
                if name == TOC:
                    toc = head
        except DamagedFile as error:
            raise UsageError(f"{path}: {error.message}", "name a file or folder that pg_dump wrote") from None
    return reader_of(toc)


def read_head(folder: OpenFolder, name: str) -> bytes:
    """The first bytes of a regular file."""
    with os.fdopen(folder.open(name), "rb") as file:
        return file.read(HEAD_BYTES) if name == TOC else b""


def reader_of(head: bytes) -> int:
    """The oldest pg_restore for an archive that begins like this."""
    if not head.startswith(ARCHIVE_MAGIC):
        raise UsageError(f"its {TOC} is not one that pg_dump wrote", "name a file or folder that pg_dump wrote")
    return READERS.get(head[6], 0)


def check_dump_file(dump: Dump) -> list[str]:
    """Check what can be checked before a restore; returns what is known against a backup, or cannot be checked.

    Raises `IacallsError` where a backup of ours is not what it was, or a plain dump has no end.
    """
    backup = dump.backup
    if backup is not None and backup.manifest is not None:
        if damage := next(compare_files(backup.folder, backup.manifest), ""):
            raise IacallsError(f"{backup.id} is damaged: {damage}", "restore another one; `iacalls backup list`")
        passed = [f"passed over, because it is damaged: {name}" for name in dump.passed_over]
        known = (backup.proof.damage, backup.proof.failure, backup.foreign)
        return passed + [f"{backup.id}: {one}" for one in known if one]
    notes = ["no manifest: neither checksums nor rows per table can be compared"]
    if dump.is_stripped:
        notes.append("without pg_dump's comments the end of the dump cannot be checked: is the file whole?")
    elif dump.format == "plain":
        try:
            require_end(dump.path, PLAIN_END)
        except IacallsError as error:
            error.hint = error.hint or "if its last lines were removed on purpose, add --plain"
            raise
    return notes


def unpacked_name(dump: Dump) -> str:
    """A folder's name for one restore alone: several may bring the same backup back at once."""
    return f"restore-of-{dump.name[:NAME_CHARACTERS]}-{secrets.token_hex(4)}"


@contextmanager
def unpacked(dump: Dump, store: Store) -> Iterator[Path]:
    """A path that pg_restore can read; what has to be decompressed for that is gone afterwards."""
    path = dump.path
    if dump.format != "directory":
        if not is_compressed(path):
            yield path
            return
        with store.partial(unpacked_name(dump)) as folder:
            decompress(path, folder / "dump")
            yield folder / "dump"
        return
    if not any(path.glob("*.zst")):
        yield path
        return
    with store.partial(unpacked_name(dump)) as folder:
        for file in path.iterdir():
            if file.suffix == ".zst":
                decompress(file, folder / file.stem)
            else:
                shutil.copyfile(file, folder / file.name)
        yield folder
