"""The folder of archives as the options and the config file choose it."""

from collections.abc import Sequence
from pathlib import Path

from iacalls_cli.config.file import load_config
from iacalls_cli.homes import expand_user, user_folder
from iacalls_cli.operations.maintain.archive.store import Archive, Archives


def open_archives(directory: Path | None) -> Archives:
    """The folder of archives: of `--directory`, else of the config file, else in the user's data folder."""
    chosen = directory or load_config().maintain.archives or user_folder("data") / "archives"
    return Archives(expand_user(chosen).absolute())


def sizes(archives: Sequence[Archive]) -> int:
    """What archives take together, in bytes."""
    return sum(archive.bytes for archive in archives)
