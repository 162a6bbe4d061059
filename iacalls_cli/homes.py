"""Where this user's files are; a user without a home directory is told so."""

import os
from pathlib import Path

from iacalls_cli.errors import UsageError


def user_folder(kind: str) -> Path:
    """This user's folder of config or data files; raises `UsageError` for a user without a home directory."""
    import platformdirs

    find = {"config": platformdirs.user_config_path, "data": platformdirs.user_data_path}[kind]
    try:
        found = find("iacalls", appauthor=False)
    except RuntimeError:  # newer versions of platformdirs; earlier ones leave the ~ where it is
        found = Path("~")
    if str(found).startswith("~"):
        raise UsageError(
            f"the user with the number {os.geteuid()} has no home directory",
            f"set HOME, or XDG_{kind.upper()}_HOME, to a directory of this user",
        )
    return found


def expand_user(path: Path) -> Path:
    """A path with its `~` resolved; raises `UsageError` where that has no home directory."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise UsageError(f"there is no home directory for {path}", "write the whole path, or set HOME") from None
