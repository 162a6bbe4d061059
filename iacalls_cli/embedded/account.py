"""Which operating-system account runs the embedded server.

PostgreSQL refuses to run as root. An ordinary user runs the server as itself; root runs
it as an unprivileged account and changes no permission of any directory it did not make.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacalls_cli.errors import IacallsError

# In order of preference: the account PostgreSQL packages make, then the one every
# system has.
UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An account to run programs as; `switch` says whether that is another one than ours."""

    name: str
    uid: int
    gid: int
    switch: bool

    def run(self, command: Sequence[str | Path], timeout: float = 120) -> "subprocess.CompletedProcess[str]":
        """Run `command` as this account, detached from the terminal, with a bare environment.

        The environment holds no PG* variable, so that the caller's settings never reach
        the server. Raises `IacallsError` when the account cannot be taken on.
        """
        environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}
        identity: dict[str, Any] = {}
        if self.switch:
            identity = {"user": self.uid, "group": self.gid, "extra_groups": []}
        try:
            return subprocess.run(
                [str(part) for part in command],
                check=False,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=timeout,
                cwd="/",
                env=environment,
                start_new_session=True,
                umask=0o077,
                **identity,
            )
        except PermissionError as error:
            raise IacallsError(
                f"cannot run {Path(command[0]).name} as the account {self.name}: {error.strerror}",
                "run iacalls as an ordinary user, or name a server with --dsn",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise IacallsError(
                f"{Path(command[0]).name} did not finish within {timeout:.0f} s", "see `iacalls server status`"
            ) from error

    def give(self, path: Path) -> None:
        """Make this account the owner of `path`, which we made ourselves."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def can_reach(self, path: Path) -> bool:
        """Whether this account may enter every existing folder on the way to `path`."""
        if not self.switch:
            return True
        return all(self._may_enter(folder) for folder in (path, *path.parents) if folder.is_dir())

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)


def server_account() -> Account:
    """The account that runs the server: ours, or an unprivileged one when we are root."""
    import pwd

    if os.geteuid() != 0:
        try:
            own = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise IacallsError(
                f"PostgreSQL needs an account with a name, and the user id {os.geteuid()} has none",
                "run iacalls as a user that the system knows, or name a server with --dsn",
            ) from None
        return Account(own.pw_name, own.pw_uid, own.pw_gid, switch=False)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
    raise IacallsError(
        "PostgreSQL does not run as root, and this system has no account to run it instead",
        f"create the account {UNPRIVILEGED[0]}, or run iacalls as an ordinary user",
    )
