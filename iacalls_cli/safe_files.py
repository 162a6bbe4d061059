"""Files in directories that other users may write to: backups, archives, the config file, locks.

A directory is opened once and checked on its open handle; files are one plain name below it, never a
symbolic link, never anything but a regular file, and never larger than their kind can be. So neither
a name nor an exchange between a check and a use leads out of the directory, and no FIFO or device makes
a command wait. `DamagedFile` says that something is not a file as we write it, `ForeignFile` that it
belongs to somebody whose files are not written to.
"""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from iacalls_cli.errors import IacallsError

UNFINISHED = ".partial"
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
NAME_BYTES = 255
LINKS = 8


class DamagedFile(IacallsError):
    """A file is not one that we can have written: a link, no regular file, too large, of the wrong types."""


class ForeignFile(IacallsError):
    """A file or directory belongs to another user, or others may write to it."""


@dataclass(frozen=True)
class OpenFolder:
    """A directory that was opened once. `path` is for messages; everything is looked up below `handle`."""

    path: Path
    handle: int

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.name

    @property
    def status(self) -> os.stat_result:
        """The open directory's owner and mode."""
        return os.fstat(self.handle)

    def look_at(self, path: str) -> os.stat_result | None:
        """The status of an entry itself, or None if there is none.

        Raises `DamagedFile` for a path that is not plain, or leads through a link.
        """
        try:
            with self.parent_of(path) as (handle, name):
                return os.stat(name, dir_fd=handle, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    @contextmanager
    def parent_of(self, path: str) -> Iterator[tuple[int, str]]:
        """A handle on the directory that an entry is in, and its name there."""
        if not is_plain_path(path):
            raise DamagedFile(f"{path!r} is not a plain file name")
        parent, _, name = path.rpartition("/")
        if not parent:
            yield self.handle, name
            return
        try:
            handle = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | SAFE, dir_fd=self.handle)
        except OSError as error:
            if error.errno == errno.ELOOP or is_link(parent, self.handle):
                raise DamagedFile(f"{parent} is a symbolic link") from None
            raise
        try:
            yield handle, name
        finally:
            os.close(handle)

    def open(self, path: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file that is there; raises `DamagedFile` for anything else, OSError where it is missing.

        To write into one it has to be ours, and to have no other name: that might be a file of another directory.
        """
        with self.parent_of(path) as (handle, name):
            # Looked at before as well: to open a device may be to use it.
            require_regular(os.stat(name, dir_fd=handle, follow_symlinks=False), path)
            try:
                opened = os.open(name, flags | SAFE, dir_fd=handle)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):  # exchanged in this very moment
                    raise DamagedFile(f"{path} is not a regular file") from None
                raise
        with closed_on_failure(opened):
            status = os.fstat(opened)
            require_regular(status, path)
            if flags & os.O_ACCMODE != os.O_RDONLY:
                require_own(status, self.path / path)
                if status.st_nlink > 1:
                    raise ForeignFile(
                        f"{self.path / path} has a second name (hard link), and what it names would change as well",
                        "copy the file over itself, then try again",
                    )
        return opened

    def create(self, name: str, mode: int = 0o600) -> int:
        """Create a file for its owner alone; raises FileExistsError if anything has its name."""
        with self.parent_of(name) as (handle, last):
            return os.open(last, os.O_RDWR | os.O_CREAT | os.O_EXCL | SAFE, mode, dir_fd=handle)

    def read(self, path: str, most: int) -> bytes:
        """The content of a file of at most so many bytes; raises `DamagedFile` for a larger one."""
        handle = self.open(path)
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_size > most:
                raise DamagedFile(f"{path} is too large to be one of iacalls")
            content = file.read(most + 1)
        if len(content) > most:
            raise DamagedFile(f"{path} is too large to be one of iacalls")
        return content

    def write(self, name: str, text: str) -> None:
        """Write a small file that is complete or not there; raises `ForeignFile` where the directory is not ours."""
        require_own(self.status, self.path)
        partial = name + UNFINISHED
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=self.handle)
        handle = self.create(partial)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            os.rename(partial, name, src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            with suppress(OSError):
                os.unlink(partial, dir_fd=self.handle)
            raise
        os.fsync(self.handle)

    def remove_file(self, name: str) -> None:
        """Remove a file's name if it is there, never what a link points to."""
        with self.parent_of(name) as (handle, last), suppress(FileNotFoundError):
            os.unlink(last, dir_fd=handle)

    def files(self) -> list[str]:
        """The paths of all entries but directories, one level deep: what is deeper counts as one entry."""
        found = []
        for name in self.entries():
            status = self.look_at(name) if is_plain_path(name) else None
            if status is None or not stat.S_ISDIR(status.st_mode):
                found.append(name)
                continue
            try:
                with open_folder(Path(name), parent=self) as inner:
                    found += [f"{name}/{below}" for below in inner.entries()]
            except (OSError, DamagedFile):  # exchanged or removed in this moment, or closed to us
                found.append(name)
        return sorted(found)

    def entries(self) -> list[str]:
        """The names of all entries."""
        return os.listdir(self.handle)  # noqa: PTH208, a Path knows no handle

    def remove(self, name: str, doomed: str) -> None:
        """Remove a directory of ours: first its name, so that a removal cut short leaves nothing that looks like one.

        Raises `ForeignFile` for a link, and for what is not ours; never follows links.
        """
        require_directory(self)
        with open_folder(Path(name), parent=self) as inner:
            require_own(inner.status, self.path / name)
            os.rename(name, doomed, src_dir_fd=self.handle, dst_dir_fd=self.handle)
            os.fsync(self.handle)
            if not os.path.samestat(inner.status, os.stat(doomed, dir_fd=self.handle, follow_symlinks=False)):
                raise ForeignFile(f"{self.path / name} was exchanged, and is left as {doomed}")
        shutil.rmtree(doomed, dir_fd=self.handle)


Folder = Path | OpenFolder


@contextmanager
def open_folder(folder: Folder, *, parent: OpenFolder | None = None, is_followed: bool = False) -> Iterator[OpenFolder]:
    """A directory opened once; one that is open already stays so. `is_followed`: it may be a link, as people name it.

    Raises `DamagedFile` for a link, OSError where there is no directory.
    """
    if isinstance(folder, OpenFolder):
        yield folder
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if is_followed else os.O_NOFOLLOW)
    where = parent.handle if parent else None
    try:
        handle = os.open(folder, flags, dir_fd=where)
    except OSError as error:
        # Linux says ENOTDIR of a link that is not to be followed.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and is_link(str(folder), where):
            raise DamagedFile(f"{folder.name} is a symbolic link, not a directory") from None
        raise
    try:
        yield OpenFolder(parent.path / folder if parent else folder, handle)
    finally:
        os.close(handle)


def is_link(name: str, where: int | None) -> bool:
    """Whether an entry is a symbolic link."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=where, follow_symlinks=False).st_mode)
    except OSError:
        return False


def is_plain_path(path: object) -> bool:
    r"""Whether a path is one plain name, or one below another: no other place can be meant by it.

    >>> [is_plain_path(path) for path in ("a", "dump/a.dat", "/a", "a/../b", "..", "a/b/c", "a\n", "", 1)]
    [True, True, False, False, False, False, False, False, False]
    """
    if not isinstance(path, str) or path.count("/") > 1:
        return False
    return all(is_plain_name(name) for name in path.split("/"))


def is_plain_name(name: str) -> bool:
    """Whether a name is one of a file in a directory, without control characters."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        return False
    try:
        return len(os.fsencode(name)) <= NAME_BYTES
    except UnicodeEncodeError:
        return False


def require_regular(status: os.stat_result, path: str) -> None:
    """Raise `DamagedFile` unless a file is a regular one."""
    if stat.S_ISLNK(status.st_mode):
        raise DamagedFile(f"{path} is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile(f"{path} is not a regular file")


def is_trusted(uid: int) -> bool:
    """Whether a file of this user may be obeyed: this user's own, root's, or of who called sudo."""
    return str(uid) in ("0", str(os.geteuid()), os.environ.get("SUDO_UID"))


def foreign_reason(status: os.stat_result, owner: int | None = None) -> str:
    """Why a directory is not ours, or ''. `owner` is one more user who may own it."""
    if not is_trusted(status.st_uid) and status.st_uid != owner:
        return f"it belongs to another user ({user_of(status.st_uid)})"
    return "every user of this machine may write to it" if status.st_mode & stat.S_IWOTH else ""


def require_own(status: os.stat_result, path: Path) -> None:
    """Raise `ForeignFile` for a file or directory of another user, or that every user may write to."""
    if reason := foreign_reason(status):
        way = f"chmod o-w {path}" if is_trusted(status.st_uid) else "run this as that user, or change the owner"
        raise ForeignFile(f"{path} is not changed: {reason}", way)


def require_directory(folder: OpenFolder) -> None:
    """Raise `ForeignFile` where others could exchange what we make in a directory.

    A sticky one like /tmp will do. An ordinary user may share a directory of another user that lets them in.
    """
    status = folder.status
    if status.st_mode & stat.S_ISVTX and is_trusted(status.st_uid):
        return
    if os.geteuid() != 0 and not status.st_mode & stat.S_IWOTH:
        return
    require_own(status, folder.path)


def user_of(uid: int) -> str:
    """A user's name, or number where the system has no name for it."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def closed_on_failure(handle: int) -> Iterator[None]:
    """Close a handle if the block fails, an interrupt included."""
    try:
        yield
    except BaseException:
        os.close(handle)
        raise


def open_lock(path: Path) -> int:
    """Open a lock file, made where it is missing; raises `ForeignFile` or `DamagedFile` for one that is not ours."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | SAFE, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise DamagedFile(f"the lock file {path} is not a regular file", "remove it") from None
        raise
    with closed_on_failure(handle):
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise DamagedFile(f"the lock file {path} is not a regular file, or has a second name", "remove it")
        require_own(status, path)
    return handle


def open_trusted(path: Path, links: int = LINKS) -> int:
    """Open a file that is obeyed: neither it nor a link to it may belong to another user.

    It is opened once, and what was opened is looked at. Raises `ForeignFile`, `DamagedFile` and OSError.
    """
    try:
        handle = os.open(path, os.O_RDONLY | SAFE)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        if not links:
            raise
        return open_trusted(path.parent / read_link(path), links - 1)
    with closed_on_failure(handle):
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        require_regular(status, str(path))
        if not is_trusted(status.st_uid):
            raise ForeignFile(f"{path} belongs to another user")
    return handle


def read_link(path: Path) -> str:
    """Where a link of a trusted user leads; raises `ForeignFile` for one of another user."""
    if not hasattr(os, "O_PATH"):
        status = path.lstat()
        target = str(path.readlink())
    else:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(handle)
            target = os.readlink("", dir_fd=handle)
        finally:
            os.close(handle)
    if not is_trusted(status.st_uid):
        raise ForeignFile(f"{path} is a link of another user")
    return target


def read_small(path: Path, most: int) -> str:
    """The text of a small regular file, as far as it is text; raises `DamagedFile` and OSError."""
    with open_folder(path.parent, is_followed=True) as folder:
        return folder.read(path.name, most).decode("utf-8", "replace")
