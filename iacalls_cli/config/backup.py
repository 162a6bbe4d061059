"""The config files' `[backup]`: where backups go, how they are made and kept, what is told to whom.

[backup]
directory = "/srv/backups/iacalls"
format = "custom"                    # custom, directory or plain
compress = "zstd:1"
jobs = 2
lock_wait = "30s"                    # how long a dump waits for a table that somebody locks
keep_daily = 7
keep_weekly = 4
keep_monthly = 12
min_keep = 3
max_age = "26h"                      # what `backup check` demands
max_proven_age = "35d"
min_size = "10MB"
max_shrink = "30%"
rehearse_timeout = "12h"             # a restore test on the embedded server is ended then
on_start = "https://ping.example/start"
on_success = ["/usr/local/bin/tell", "--backup"]
on_failure = "/usr/local/bin/tell --failed"
hook_timeout = "60s"
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from iacalls_cli.errors import UsageError

HOOKS = ("on_start", "on_success", "on_failure")


@dataclass(frozen=True)
class BackupSettings:
    """What `[backup]` says; None for what it does not. A hook is a command's words, or one URL."""

    directory: Path | None = None
    format: str | None = None
    compress: str | None = None
    jobs: int | None = None
    lock_wait: str | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    min_keep: int | None = None
    max_age: str | None = None
    max_proven_age: str | None = None
    min_size: str | None = None
    max_shrink: str | None = None
    rehearse_timeout: str | None = None
    on_start: tuple[str, ...] = ()
    on_success: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    hook_timeout: str | None = None


KEYS = tuple(field.name for field in fields(BackupSettings))
MOST_JOBS = 64
LOCK_WAIT = re.compile(r"\d{1,9}\s*(ms|s|min|h)?")
NUMBERS = ("jobs", "keep_daily", "keep_weekly", "keep_monthly", "min_keep")


def read_backup_settings(content: Mapping[str, Any], path: Path, *, is_local: bool) -> dict[str, Any]:
    """The values of one file's `[backup]`, its keys already known to be right.

    `is_local` says that the file is `./iacalls.toml`, which must not make a command run: it may have
    come with a folder of somebody else's. Raises `UsageError` naming file and key.
    """
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key in HOOKS:
            if is_local:
                raise UsageError(
                    f"{path}: 'backup.{key}' would run a command from a file in the current folder",
                    "hooks may stand only in config.toml in your config folder",
                )
            values[key] = read_hook(key, value, path)
        elif key in NUMBERS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UsageError(f"{path}: 'backup.{key}' is not a number: {value}", f"write {key} = 2")
            if key == "jobs" and not 1 <= value <= MOST_JOBS:
                raise UsageError(
                    f"{path}: 'backup.jobs' is not a number from 1 to {MOST_JOBS}: {value}", "write jobs = 2"
                )
            values[key] = value
        elif not isinstance(value, str) or not value:
            raise UsageError(f"{path}: 'backup.{key}' is not a text", f'write {key} = "…"')
        elif key == "lock_wait" and not LOCK_WAIT.fullmatch(value):
            raise UsageError(f"{path}: 'backup.lock_wait' is not a time: {value}", "write for example 30s or 5min")
        else:
            values[key] = value
    if "directory" in values:
        try:
            values["directory"] = path.parent / Path(values["directory"]).expanduser()
        except RuntimeError:
            raise UsageError(f"{path}: 'backup.directory' names a home that does not exist", "correct it") from None
    return values


def read_hook(key: str, value: Any, path: Path) -> tuple[str, ...]:
    """A hook's command as its words; a text is split as a shell would, and no shell runs it."""
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not "".join(words[:1]):
        raise UsageError(
            f"{path}: 'backup.{key}' is neither a command nor a URL", f'write {key} = ["program", "argument"]'
        )
    if words[0].startswith(("http://", "https://")) and len(words) > 1:
        raise UsageError(f"{path}: 'backup.{key}' has something behind its URL", "write the URL alone")
    return tuple(words)
