"""Directories that hold one directory for each backup or archive, named after a database and a time.

What has no such name, or is no directory, is other people's and is left alone. A name that ends in
`.partial` or `.removed` is not one of a finished directory.
"""

import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.files import free_bytes, make_folder
from iacalls_cli.safe_files import OpenFolder, foreign_reason, open_folder

STAMP = "%Y%m%dT%H%M%SZ"
LATEST = ("latest", "newest")


class Named(Protocol):
    """Anything with the name of its directory."""

    @property
    def id(self) -> str:
        """The directory's name."""


NamedT = TypeVar("NamedT", bound=Named)
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class DatedDirectories:
    """A directory of dated directories, which may hold other things."""

    directory: Path

    def make(self) -> None:
        """Make the directory if it is missing; raises `IacallsError` if that is not possible."""
        make_folder(self.directory)

    def free_bytes(self) -> int:
        """Return the disk space that is left for this user."""
        return free_bytes(self.directory)

    def read_all(self, is_id: Callable[[str], bool], read: Callable[[Path, OpenFolder], ItemT]) -> list[ItemT]:
        """Read every directory, or link in the place of one, whose name `is_id`; raises `IacallsError`."""
        try:
            with open_folder(self.directory, is_followed=True) as store:
                return [
                    read(Path(name), store) for name in store.entries() if is_id(name) and is_directory(store, name)
                ]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise IacallsError(
                f"cannot read the folder {self.directory}: {error.strerror}", "name another one with --directory"
            ) from None

    def wait_for_name(self, make_name: Callable[[], str], *endings: str) -> str:
        """Return a name that nothing has, with any of the endings: of two in the same second the later waits."""
        while True:
            name = make_name()
            if not any(os.path.lexists(self.directory / (name + ending)) for ending in ("", *endings)):
                return name
            time.sleep(0.1)


def is_directory(store: OpenFolder, name: str) -> bool:
    """Return whether an entry is a directory, or a link in the place of one."""
    status = store.look_at(name)
    return status is not None and (stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode))


@contextmanager
def open_dated(folder: Path, store: OpenFolder | None) -> Iterator[tuple[OpenFolder, str]]:
    """Open one directory; the second value says why it is not ours, or is ''. The store's owner may own it too."""
    with open_folder(folder, parent=store) as opened:
        owner = store.status.st_uid if store else folder.parent.stat().st_uid
        yield opened, foreign_reason(opened.status, owner)


def match_id(items: Iterable[NamedT], name: str) -> list[NamedT]:
    """Return the one with an ID, or else all whose IDs begin with `name`, which is not empty."""
    items = list(items)
    exact = [item for item in items if item.id == name]
    return exact or [item for item in items if name and item.id.startswith(name)]


def name_database(database: str) -> str:
    """Return a database's name as part of a file's name."""
    return re.sub(r"[^\w.-]", "-", database, flags=re.ASCII)[:63]


def stamp(moment: datetime) -> str:
    """Return a moment as part of a name, in UTC."""
    return moment.astimezone(UTC).strftime(STAMP)


def describe_problem(error: IacallsError | OSError) -> str:
    """Return why a file cannot be read, without the directory that the ID already tells."""
    if isinstance(error, OSError):
        return f"{Path(str(error.filename)).name} cannot be read: {error.strerror}"
    return error.message


def render_sums(sums: Mapping[str, str]) -> str:
    """Return the text of SHA256SUMS, which `sha256sum -c` reads, for digests by path."""
    return "".join(f"{digest}  {path}\n" for path, digest in sums.items())
