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
from iacalls_cli.operations.dated_directories import (
    LATEST,
    STAMP,
    DatedDirectories,
    describe_problem,
    match_id,
    name_database,
    open_dated,
    stamp,
)
from iacalls_cli.operations.files import utc_now, write_file
from iacalls_cli.operations.maintain.archive.format import (
    MANIFEST,
    MOST_BYTES,
    REMOVED,
    UNDONE,
    ArchiveManifest,
    count_rows,
    journal_lock,
    parse_manifest,
    read_sums,
)
from iacalls_cli.safe_files import (
    UNFINISHED,
    DamagedFile,
    ForeignFile,
    OpenFolder,
    open_folder,
    require_directory,
    require_own,
)
from iacalls_cli.stored_json import parse_json

ID = re.compile(r"[\w.-]+_\d{8}T\d{6}Z", re.ASCII)
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
        # It may be under way, or have been taken away.
        with suppress(OSError, DamagedFile), open_folder(self.folder) as folder:
            sizes = sum(status.st_size for name in folder.entries() if (status := folder.look_at(name)))
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
        except (OSError, DamagedFile, ForeignFile):
            return False

    @property
    def started(self) -> datetime:
        """When the run began, as its name says; a name without a real time is never old."""
        try:
            return datetime.strptime(self.id.rsplit("_", 1)[1], STAMP).replace(tzinfo=UTC)
        except ValueError:
            return datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Archives(DatedDirectories):
    """A folder of archives; other things in it are left alone."""

    def all(self) -> list[Archive]:
        """All archives, the newest first."""
        found = self.read_all(is_id, read_archive)
        return sorted(found, key=lambda archive: archive.id.rsplit("_", 1)[1], reverse=True)

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
        if name in LATEST and mine and now is not None and mine[0].started > now + CLOCK_TOLERANCE:
            raise UsageError(
                f"{mine[0].id} is dated in the future (the server's clock says "
                f"{now.astimezone(UTC):%Y-%m-%d %H:%M} UTC), so the newest archive cannot be told",
                "name the run by its ID; `iacalls maintain undo` lists them",
            )
        found = (mine or archives)[:1] if name in LATEST else match_id(archives, name)
        if len(found) != 1:
            what = "more than one run" if found else "no run"
            raise UsageError(f"there is {what} {name!r} in {self.directory}", "`iacalls maintain undo` lists them")
        return found[0]

    def new_id(self, database: str, now: datetime) -> str:
        """The name of a run that begins `now`, by the server's clock; of two in the same second the later waits.

        By that clock, ages of archives are those that rules have, whatever machine a cleanup runs on.
        """
        began = time.monotonic()

        def make_name() -> str:
            moment = now + timedelta(seconds=time.monotonic() - began)
            return f"{name_database(database)}_{stamp(moment)}"

        return self.wait_for_name(make_name, UNFINISHED, REMOVED)


def is_id(name: str) -> bool:
    """Return whether a directory's name is that of an archive, with a real time."""
    if not ID.fullmatch(name):
        return False
    try:
        datetime.strptime(name.rsplit("_", 1)[1], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


def read_archive(folder: Path, store: OpenFolder | None = None) -> Archive:
    """An archive as its own files tell it. One that was not closed counts its rows by its journal."""
    path = store.path / folder if store else folder
    try:
        with open_dated(folder, store) as (opened, foreign):
            return Archive(path, None, foreign) if foreign else read_opened(opened)
    except (IacallsError, OSError) as error:
        return Archive(path, None, describe_problem(error))
    except (ValueError, TypeError, KeyError):
        return Archive(path, None, f"{MANIFEST} is not one of this version of iacalls")


def read_opened(folder: OpenFolder) -> Archive:
    """An archive whose directory is open; raises ValueError, TypeError or KeyError for what is none."""
    text = folder.read(MANIFEST, MOST_BYTES)
    sums = read_sums(folder)
    if sums is not None and sums.get(MANIFEST) != hashlib.sha256(text).hexdigest():
        return Archive(folder.path, None, f"{MANIFEST} was changed: the checksum differs")
    manifest = parse_manifest(parse_json(text))
    return Archive(folder.path, manifest if sums else count_rows(folder, manifest), is_closed=sums is not None)


def old_archives(archives: list[Archive], keep: timedelta, now: datetime) -> list[Archive]:
    """The archives that are older than they are to be kept; never one that is still being written.

    `now` is the server's time, as that of their names.
    """
    return [archive for archive in archives if archive.is_closed and now - archive.started > keep]


def clear_left(directory: Path) -> None:
    """Remove what is left of a removal that was cut short, and of archives that killed commands began to make."""
    with suppress(FileNotFoundError, ForeignFile), open_folder(directory, is_followed=True) as store:
        require_directory(store)
        for name in store.entries():
            stem, _, ending = name.rpartition(".")
            if not ID.fullmatch(stem) or f".{ending}" not in (REMOVED, UNFINISHED):
                continue
            with suppress(OSError, DamagedFile, ForeignFile), open_folder(Path(name), parent=store) as left:
                require_own(left.status, left.path)
                if f".{ending}" == REMOVED or time.time() - left.status.st_mtime > LEFT_SECONDS:
                    shutil.rmtree(name, ignore_errors=True, dir_fd=store.handle)


def mark_undone(archive: Archive, rows: int) -> None:
    """Note beside an archive that its `rows` are back; raises `IacallsError` and OSError."""
    write_file(archive.folder / UNDONE, json.dumps({"at": utc_now(), "rows": rows}) + "\n")
