"""The folder of backups: one folder each, complete and under its final name or not there.

`<directory>/<database>_<UTC time>[_<label>]/` holds the archive, `manifest.json`, `SHA256SUMS`
and `proof.json`. What is still being made, or unpacked for a restore, has a name that ends in
`.partial` and a kernel lock on its folder: without that lock it is what a killed job left.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.backup.manifest import Manifest, read_manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, read_proof
from iacalls_cli.operations.dated_directories import (
    LATEST,
    DatedDirectories,
    describe_problem,
    match_id,
    name_database,
    open_dated,
    stamp,
)
from iacalls_cli.operations.files import sync_folder
from iacalls_cli.safe_files import UNFINISHED as PARTIAL
from iacalls_cli.safe_files import DamagedFile, ForeignFile, OpenFolder, open_folder, require_directory, require_own

TIME = re.compile(r"_(\d{8}T\d{6}Z)", re.ASCII)
ID = re.compile(rf"[\w.-]+{TIME.pattern}(_[\w.-]+)?", re.ASCII)
# What jobs of ours leave when they are killed; other people's folders may end in .partial too.
LEFTOVER = re.compile(rf"({ID.pattern}(\.removed)?|restore-of-.+){re.escape(PARTIAL)}", re.ASCII)
LABEL = re.compile(r"[\w.-]{1,60}", re.ASCII)
# A server's system identifier, and a database's name.
Source = tuple[str, str]


@dataclass(frozen=True)
class Backup:
    """One backup in the store. Without a manifest, `problem` says why it has none that can be read.

    `foreign` says why it is not ours: it can be read by its name, and is never counted, written to or removed.
    """

    folder: Path
    manifest: Manifest | None
    proof: Proof
    problem: str = ""
    foreign: str = ""

    @property
    def id(self) -> str:
        """Its name."""
        return self.folder.name

    @property
    def database(self) -> str:
        """The name of the database it is of; '' where it is too damaged to tell."""
        return str(self.manifest.database["name"]) if self.manifest else ""

    @property
    def state(self) -> str:
        """The best that is known of it: created, verified, proven; or damaged, or foreign."""
        if self.manifest is None or self.proof.damage:
            return "damaged"
        if self.foreign:
            return "foreign"
        return "proven" if self.proof.proven_at else "verified" if self.proof.verified_at else "created"

    @property
    def is_good(self) -> bool:
        """Whether it was read whole, and nothing was found wrong since."""
        return self.state in ("verified", "proven")


@dataclass(frozen=True)
class Store(DatedDirectories):
    """A folder that holds backups, and may hold other things, which are left alone."""

    def backups(self) -> list[Backup]:
        """All backups, the newest first. Only manifests are read, not archives."""
        return sorted(self.read_all(is_id, read_backup), key=age_key, reverse=True)

    def find(
        self,
        name: str,
        source: Callable[[], Source | None] = lambda: None,
        passes: Callable[[Backup], bool] = lambda backup: True,
    ) -> Backup:
        """A backup by its id, by an unambiguous beginning of it, or the latest full one of a database.

        `latest` is that of the only database in the store, or else of `source`, the target's; that
        is asked for only where it matters. One that `passes` refuses is taken only if there is no other.
        Raises `UsageError` when there is none, or more than one that may be meant.
        """
        backups = self.backups()
        if not backups:
            raise UsageError(f"there is no backup in {self.directory}", "`iacalls backup create` makes one")
        if not name:
            raise UsageError("the backup's name is empty", "`iacalls backup list` shows them all")
        own = [backup for backup in backups if name in (*LATEST, backup.database)]
        if own and not (own := [backup for backup in own if not backup.foreign]):
            raise UsageError(
                f"the backups of {name} in {self.directory} are of another user",
                "name one by its id; `iacalls backup list` shows them all",
            )
        if own:
            sources = {backup.manifest.group[:2] for backup in own if backup.manifest}
            if len(sources) > 1:
                wanted = source()
                own = [backup for backup in own if backup.manifest and backup.manifest.group[:2] == wanted]
            if not own:
                raise UsageError(
                    f"{self.directory} holds backups of several databases or servers: "
                    f"{', '.join(sorted({database for _, database in sources}))}",
                    "name a backup by its id; `iacalls backup list` shows them all",
                )
            good = [backup for backup in own if passes(backup)]
            full = (backup for backup in good if backup.manifest is None or backup.manifest.contents == "full")
            return next(full, (good or own)[0])
        found = match_id(backups, name)
        if len(found) != 1:
            what = "more than one backup" if found else "no backup"
            raise UsageError(f"there is {what} {name} in {self.directory}", "`iacalls backup list` shows them all")
        return found[0]

    def of_database(self, database: str) -> list[Backup]:
        """The backups of a database, the latest first; a damaged one that does not say goes by its name. '' is all."""
        start = f"{name_database(database)}_"
        return [
            backup
            for backup in self.backups()
            if not database
            or backup.database == database
            or (backup.manifest is None and backup.id.startswith(start) and TIME.match(backup.id, len(start) - 1))
        ]

    def new_id(self, database: str, label: str) -> str:
        """The name of a backup that begins now; of two in the same second the later waits for the next."""
        return self.wait_for_name(lambda: make_id(database, label, datetime.now(UTC)), PARTIAL)

    @contextlib.contextmanager
    def partial(self, name: str) -> Iterator[Path]:
        """A new folder for something unfinished, for its owner alone; it is gone after the block unless renamed."""
        self.make()
        self.remove_leftovers()
        folder = self.directory / f"{name}{PARTIAL}"
        handle = make_locked(folder)
        try:
            yield folder
        finally:
            remove_folder(folder)
            os.close(handle)

    def publish(self, partial: Path) -> Path:
        """Give a finished folder its final name."""
        final = partial.with_name(partial.name.removesuffix(PARTIAL))
        sync_folder(partial)
        partial.rename(final)
        sync_folder(self.directory)
        return final

    def remove_leftovers(self) -> None:
        """Remove what killed jobs left; what a living one works on is locked, and stays, as does what is not ours."""
        with contextlib.suppress(OSError, ForeignFile), open_folder(self.directory, is_followed=True) as store:
            require_directory(store)
            for name in filter(LEFTOVER.fullmatch, store.entries()):
                with (
                    contextlib.suppress(OSError, DamagedFile, ForeignFile),
                    open_folder(Path(name), parent=store) as left,
                ):
                    require_own(left.status, left.path)
                    fcntl.flock(left.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(name, dir_fd=store.handle)

    def remove(self, backup: Backup) -> None:
        """Remove a backup: first its name, so that a removal cut short leaves nothing that looks like one."""
        with open_folder(self.directory, is_followed=True) as store:
            store.remove(backup.id, f"{backup.id}.removed{PARTIAL}")


def is_id(name: str) -> bool:
    """Whether a folder's name is that of a finished backup; with a label, an unfinished one's looks alike."""
    return bool(ID.fullmatch(name)) and not name.endswith(PARTIAL)


def read_backup(folder: Path, store: OpenFolder | None = None) -> Backup:
    """A backup as its own files tell it; of those of another user than the store's, that is said."""
    path = store.path / folder if store else folder
    try:
        with open_dated(folder, store) as (opened, foreign):
            return read_opened(opened, foreign)
    except (DamagedFile, OSError) as error:
        return Backup(path, None, Proof(""), describe_problem(error))


def read_opened(folder: OpenFolder, foreign: str) -> Backup:
    """A backup whose directory is open."""
    digest = manifest_digest(folder)
    try:
        manifest = read_manifest(folder)
    except (IacallsError, OSError) as error:
        return Backup(folder.path, None, Proof(digest), describe_problem(error), foreign)
    try:
        return Backup(folder.path, manifest, read_proof(folder), "", foreign)
    except (IacallsError, OSError) as error:
        return Backup(folder.path, manifest, Proof(digest), describe_problem(error), foreign)


def make_locked(folder: Path) -> int:
    """Make a folder for its owner alone and lock it; returns the handle that holds the lock.

    Between the two another job may take the folder for a leftover: then it is made again.
    """
    while True:
        folder.mkdir(mode=0o700)
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(handle).st_ino == folder.stat().st_ino:
                return handle
        os.close(handle)


def age_key(backup: Backup) -> tuple[str, str]:
    """What orders backups by age: the snapshot's time, by the server's clock; of a damaged one that in its name.

    The name has the time of the machine that made it, whose clock may be wrong.
    """
    # The last: a database's name may hold one too, a label may not.
    named = (TIME.findall(backup.id) or [""])[-1]
    if backup.manifest is None:
        return named, ""
    try:
        return stamp(backup.manifest.taken), backup.manifest.snapshot_at
    except (ValueError, OverflowError):
        return named, backup.manifest.snapshot_at


def make_id(database: str, label: str, moment: datetime) -> str:
    """A backup's name; raises `UsageError` for a label that cannot be part of a file's name."""
    if label and (not LABEL.fullmatch(label) or label.endswith(PARTIAL)):
        raise UsageError(f"--label cannot be {label!r}", "use up to 60 letters, digits, points, - and _")
    if label.endswith(PARTIAL) or TIME.search(f"_{label}"):
        raise UsageError(
            f"--label cannot be {label!r}: the name would be taken for another one", "use a word without a time"
        )
    return f"{name_database(database)}_{stamp(moment)}" + (f"_{label}" if label else "")


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours with all it holds, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
