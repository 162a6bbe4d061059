"""The folder of archives: finding one, bringing to an end what a killed run left, removing old ones."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, IacallsError, UsageError
from iacalls_cli.operations.files import sync_folder, utc_now
from iacalls_cli.operations.maintain.archive import (
    JOURNAL,
    MANIFEST,
    RUNNING,
    SUMS,
    ArchivedFile,
    ArchiveManifest,
    Part,
    close_archive,
    parse_manifest,
    read_part,
)
from iacalls_cli.queries import load_query

ID = re.compile(r"[\w.-]+_\d{8}T\d{6}Z", re.ASCII)
UNDONE = "undone.json"
NEWEST = "newest"
# How long a session that was cut off may still be at its last commit.
COMMIT_SECONDS = 10.0


@dataclass(frozen=True)
class Archive:
    """One archive in the folder. Without a manifest, `problem` says why it cannot be read."""

    folder: Path
    manifest: ArchiveManifest | None
    problem: str = ""

    @property
    def id(self) -> str:
        """Its name, which is the run's."""
        return self.folder.name

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())

    @property
    def state(self) -> str:
        """How the run ended: finished, stopped, interrupted, failed; running or killed; undone since; or damaged."""
        if self.manifest is None:
            return "damaged"
        return "undone" if (self.folder / UNDONE).exists() else self.manifest.state

    @property
    def started(self) -> datetime:
        """When the run began, as its name says."""
        return datetime.strptime(self.id.rsplit("_", 1)[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class Archives:
    """A folder of archives; other things in it are left alone."""

    directory: Path

    def all(self) -> list[Archive]:
        """All archives, the newest first."""
        try:
            folders = [path for path in self.directory.iterdir() if ID.fullmatch(path.name) and path.is_dir()]
        except FileNotFoundError:
            return []
        return sorted(map(read_archive, folders), key=lambda archive: archive.id.rsplit("_", 1)[1], reverse=True)

    def of(self, database: str, system_identifier: str) -> list[Archive]:
        """The archives of one database, the newest first."""
        wanted = {"name": database, "system_identifier": system_identifier}
        return [
            archive
            for archive in self.all()
            if archive.manifest and wanted.items() <= archive.manifest.database.items()
        ]

    def find(self, name: str) -> Archive:
        """An archive by its run's id, an unambiguous beginning of it, or newest; raises `UsageError`."""
        archives = self.all()
        if not archives:
            raise UsageError(
                f"there is no archive in {self.directory}", "a cleanup makes one; --directory names another folder"
            )
        found = archives[:1] if name == NEWEST else [one for one in archives if one.id == name]
        found = found or [archive for archive in archives if name and archive.id.startswith(name)]
        if len(found) != 1:
            what = "more than one run" if found else "no run"
            raise UsageError(f"there is {what} {name!r} in {self.directory}", "`iacalls maintain undo` lists them")
        return found[0]

    def new_id(self, database: str) -> str:
        """The name of a run that begins now; of two in the same second the later waits for the next."""
        plain = re.sub(r"[^\w.-]", "-", database, flags=re.ASCII)[:63]
        while True:
            name = f"{plain}_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
            if not (self.directory / name).exists():
                return name
            time.sleep(0.1)

    def make(self) -> None:
        """Make the folder where it is missing; raises `IacallsError` where that cannot be."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise IacallsError(
                f"cannot make the folder {error.filename}: {error.strerror}", "name another one with --directory"
            ) from None
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise IacallsError(f"cannot write to the folder {self.directory}", "name another one with --directory")

    def free_bytes(self) -> int:
        """The room that is left for this user on the folder's disk."""
        folder = self.directory
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free


def read_archive(folder: Path) -> Archive:
    """An archive as its own files tell it."""
    try:
        text = (folder / MANIFEST).read_bytes()
        sums = folder / SUMS
        if sums.exists() and not sums.read_bytes().startswith(hashlib.sha256(text).hexdigest().encode()):
            return Archive(folder, None, f"{MANIFEST} was changed: the checksum differs")
        return Archive(folder, parse_manifest(json.loads(text)))
    except OSError as error:
        return Archive(folder, None, f"{Path(str(error.filename)).name} cannot be read: {error.strerror}")
    except (ValueError, TypeError, KeyError):
        return Archive(folder, None, f"{MANIFEST} is not one of this version of iacalls")


def read_journal(folder: Path) -> tuple[list[Part], dict[str, str]]:
    """The parts that were written, and what is known of their transactions: committed or aborted."""
    parts: list[Part] = []
    outcomes: dict[str, str] = {}
    text = (folder / JOURNAL).read_text("utf-8")
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):  # the last one of a killed run: its transaction cannot have committed
            break
        try:
            content: dict[str, Any] = json.loads(line)
            if "path" in content:
                parts.append(Part(**content))
            else:
                ((outcome, xid),) = content.items()
                outcomes[xid] = outcome
        except (ValueError, TypeError):
            raise IacallsError(f"{folder.name}: {JOURNAL} is damaged", "restore it from a copy") from None
    return parts, outcomes


def kept_parts(folder: Path) -> list[Part]:
    """The parts whose rows went, or may have: every one that is not known to be aborted."""
    parts, outcomes = read_journal(folder)
    return [part for part in parts if outcomes.get(part.xid) != "aborted"]


def part_rows(folder: Path, file: ArchivedFile, part: Part) -> Iterator[bytes]:
    """The JSON lines of a part; raises `IacallsError` at the end where it is damaged."""
    handle = os.open(folder / file.path, os.O_RDONLY)
    try:
        rest, is_first = b"", part.offset == 0
        for content in read_part(handle, part, has_header=is_first):
            *lines, rest = (rest + content).split(b"\n")
            yield from lines[1:] if is_first and lines else lines
            is_first = is_first and not lines
    finally:
        os.close(handle)


def verify_archive(archive: Archive) -> None:
    """Read an archive whole and compare it with its checksums; raises `IacallsError` naming what differs."""
    if archive.manifest is None:
        raise IacallsError(f"{archive.id}: {archive.problem}", "it cannot be trusted, and is left alone")
    files = {file.path: file for file in archive.manifest.files}
    try:
        for part in kept_parts(archive.folder):
            for _ in part_rows(archive.folder, files[part.path], part):
                pass
    except KeyError:
        raise IacallsError(f"{archive.id}: {JOURNAL} and {MANIFEST} differ", "it cannot be trusted") from None
    except OSError as error:
        raise IacallsError(f"{archive.id}: {error.filename} cannot be read: {error.strerror}") from None
    except IacallsError as error:
        raise IacallsError(f"{archive.id}: {error.message}", "it cannot be trusted, and is left alone") from None


def settle_archive(connection: Connection, archive: Archive) -> Archive:
    """Bring the archive of a run that was killed to its end; others stay as they are.

    The server knows whether the last transaction committed; if not, its part is cut off.
    """
    if archive.manifest is None or archive.manifest.state != RUNNING:
        return archive
    with journal_lock(archive.folder) as handle:
        if handle is None:
            return archive  # a living process is still at it
        parts, outcomes = read_journal(archive.folder)
        # What stands behind the last whole line was being written.
        size = len((archive.folder / JOURNAL).read_bytes().rpartition(b"\n")[0])
        os.ftruncate(handle, size + 1 if size else 0)
        for xid in {part.xid for part in parts} - outcomes.keys():
            outcomes[xid] = outcome_of(connection, xid)
            os.write(handle, (json.dumps({outcomes[xid]: xid}) + "\n").encode())
        sizes = {file.path: 0 for file in archive.manifest.files}
        rows = {"deleted": 0, "changed": 0}
        actions = {file.path: file.action for file in archive.manifest.files}
        for part in parts:
            if outcomes[part.xid] != "aborted":
                sizes[part.path] = part.offset + part.bytes
                rows[actions[part.path]] += part.rows
        for path, size in sizes.items():
            os.truncate(archive.folder / path, size)
        os.fsync(handle)
        ended = replace(archive.manifest, state="killed", ended_at=utc_now())
        close_archive(archive.folder, replace(ended, deleted=rows["deleted"], changed=rows["changed"]))
    return read_archive(archive.folder)


@contextmanager
def journal_lock(folder: Path) -> Iterator[int | None]:
    """A handle on the journal that nobody else has locked, or None."""
    handle = os.open(folder / JOURNAL, os.O_RDWR | os.O_APPEND)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield handle
    finally:
        os.close(handle)


def outcome_of(connection: Connection, xid: str) -> str:
    """What became of a transaction: committed, aborted or, too long ago, unknown."""
    until = time.monotonic() + COMMIT_SECONDS
    while True:
        try:
            outcome = fetch(connection, load_query("maintain/outcome"), {"xid": xid})[0]["outcome"]
        except DatabaseError:  # a number this server has not reached: it was restored from before that time
            return "unknown"
        if outcome != "in progress" or time.monotonic() > until:
            return outcome if outcome in ("committed", "aborted") else "unknown"
        time.sleep(0.1)


def old_archives(archives: list[Archive], keep: timedelta, now: datetime) -> list[Archive]:
    """The archives that are older than they are to be kept; never one that is still being written."""
    return [
        archive
        for archive in archives
        if archive.manifest and archive.manifest.state != RUNNING and archive.started < now - keep
    ]


def remove_archive(archive: Archive) -> None:
    """Remove an archive: first its name, so that a removal cut short leaves nothing that looks like one."""
    doomed = archive.folder.with_name(f"{archive.id}.removed")
    archive.folder.rename(doomed)
    sync_folder(doomed.parent)
    shutil.rmtree(doomed)
