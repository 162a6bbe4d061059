"""The folder of archives."""

from collections.abc import Sequence
from pathlib import Path

from iacalls_cli.homes import expand_user, user_folder
from iacalls_cli.operations.maintain.archive.store import Archive, Archives


def open_archives(directory: Path | None) -> Archives:
    """Return the archives in a folder, or in the user's data folder."""
    return Archives(expand_user(directory or user_folder("data") / "archives").absolute())


def sizes(archives: Sequence[Archive]) -> int:
    """What archives take together, in bytes."""
    return sum(archive.bytes for archive in archives)
