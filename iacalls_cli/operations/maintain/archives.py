"""The folder of archives: finding one, and what is left of old ones."""

import hashlib
import json
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.files import UNFINISHED, free_bytes, make_folder
from iacalls_cli.operations.maintain.archive import (
    MANIFEST,
    REMOVED,
    ArchiveManifest,
    count_rows,
    journal_lock,
    parse_manifest,
    read_sums,
)

ID = re.compile(r"[\w.-]+_\d{8}T\d{6}Z", re.ASCII)
UNDONE = "undone.json"
NEWEST = "newest"
# How old what a killed command left of an archive is before another one clears it away.
LEFT_SECONDS = 3600.0
# What clocks differ by without being wrong.
CLOCK_TOLERANCE = timedelta(minutes=10)


@dataclass(frozen=True)
class Archive:
    """One archive in the folder. Without a manifest, `problem` says why it cannot be read."""

    folder: Path
    manifest: ArchiveManifest | None
    problem: str = ""
    is_closed: bool = True

    @property
    def id(self) -> str:
        """Its name, which is the run's."""
        return self.folder.name

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        sizes = 0
        with suppress(OSError):  # it may be under way, or have been taken away
            sizes = sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())
        return sizes

    @property
    def state(self) -> str:
        """How the run ended: finished, stopped, interrupted, failed; running or killed; undone since; or damaged."""
        if self.manifest is None:
            return "damaged"
        if not self.is_closed:
            return "running" if self.is_at_work else "killed"
        return "undone" if (self.folder / UNDONE).exists() else self.manifest.state

    @property
    def is_at_work(self) -> bool:
        """Whether a living process still writes it, on this machine."""
        try:
            with journal_lock(self.folder) as handle:
                return handle is None
        except OSError:
            return False

    @property
    def started(self) -> datetime:
        """When the run began, as its name says; a name without a real time is never old."""
        try:
            return datetime.strptime(self.id.rsplit("_", 1)[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            return datetime.max.replace(tzinfo=UTC)


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
        except OSError as error:
            raise IacallsError(
                f"cannot read the folder {self.directory}: {error.strerror}", "name another one with --directory"
            ) from None
        return sorted(map(read_archive, folders), key=lambda archive: archive.id.rsplit("_", 1)[1], reverse=True)

    def of(self, database: str, system_identifier: str) -> list[Archive]:
        """The archives of one database, the newest first."""
        wanted = {"name": database, "system_identifier": system_identifier}
        return [
            archive
            for archive in self.all()
            if archive.manifest and wanted.items() <= archive.manifest.database.items()
        ]

    def find(self, name: str, database: str, system_identifier: str, now: datetime | None = None) -> Archive:
        """An archive by its run's id, an unambiguous beginning of it, or newest of a database; raises `UsageError`.

        One that cannot be read may be of that database: it counts, and is refused by who verifies it.
        `now` is the server's time: with an archive from after it, nobody can tell which is the newest.
        """
        archives = self.all()
        if not archives:
            raise UsageError(
                f"there is no archive in {self.directory}", "a cleanup makes one; --directory names another folder"
            )
        own = {"name": database, "system_identifier": system_identifier}.items()
        mine = [one for one in archives if one.manifest is None or own <= one.manifest.database.items()]
        if name == NEWEST and mine and now is not None and mine[0].started > now + CLOCK_TOLERANCE:
            raise UsageError(
                f"{mine[0].id} is dated in the future (the server's clock says "
                f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC), so the newest archive cannot be told",
                "name the run by its ID; `iacalls maintain undo` lists them",
            )
        found = (mine or archives)[:1] if name == NEWEST else [one for one in archives if one.id == name]
        found = found or [archive for archive in archives if name and archive.id.startswith(name)]
        if len(found) != 1:
            what = "more than one run" if found else "no run"
            raise UsageError(f"there is {what} {name!r} in {self.directory}", "`iacalls maintain undo` lists them")
        return found[0]

    def new_id(self, database: str, now: datetime) -> str:
        """The name of a run that begins `now`, by the server's clock; of two in the same second the later waits.

        By that clock, ages of archives are those that rules have, whatever machine a cleanup runs on.
        """
        plain = re.sub(r"[^\w.-]", "-", database, flags=re.ASCII)[:63]
        began = time.monotonic()
        while True:
            moment = now.astimezone(UTC) + timedelta(seconds=time.monotonic() - began)
            name = f"{plain}_{moment:%Y%m%dT%H%M%SZ}"
            if not any((self.directory / (name + ending)).exists() for ending in ("", UNFINISHED, REMOVED)):
                return name
            time.sleep(0.1)

    def make(self) -> None:
        """Make the folder where it is missing; raises `IacallsError` where that cannot be."""
        make_folder(self.directory)

    def free_bytes(self) -> int:
        """The room that is left for this user on the folder's disk."""
        return free_bytes(self.directory)


def read_archive(folder: Path) -> Archive:
    """An archive as its own files tell it. One that was not closed counts its rows by its journal."""
    try:
        text = (folder / MANIFEST).read_bytes()
        sums = read_sums(folder)
        if sums is not None and sums.get(MANIFEST) != hashlib.sha256(text).hexdigest():
            return Archive(folder, None, f"{MANIFEST} was changed: the checksum differs")
        manifest = parse_manifest(json.loads(text))
        return Archive(folder, manifest if sums else count_rows(folder, manifest), is_closed=sums is not None)
    except OSError as error:
        return Archive(folder, None, f"{Path(str(error.filename)).name} cannot be read: {error.strerror}")
    except IacallsError as error:
        return Archive(folder, None, error.message)
    except (ValueError, TypeError, KeyError):
        return Archive(folder, None, f"{MANIFEST} is not one of this version of iacalls")


def old_archives(archives: list[Archive], keep: timedelta, now: datetime) -> list[Archive]:
    """The archives that are older than they are to be kept; never one that is still being written.

    `now` is the server's time, as that of their names.
    """
    return [archive for archive in archives if archive.is_closed and now - archive.started > keep]


def clear_left(directory: Path) -> None:
    """Remove what is left of a removal that was cut short, and of archives that killed commands began to make."""
    for path in directory.iterdir() if directory.exists() else ():
        name, _, ending = path.name.rpartition(".")
        if not ID.fullmatch(name) or not path.is_dir():
            continue
        with suppress(OSError):
            is_old = time.time() - path.stat().st_mtime > LEFT_SECONDS
            if f".{ending}" == REMOVED or (f".{ending}" == UNFINISHED and is_old):
                shutil.rmtree(path, ignore_errors=True)
