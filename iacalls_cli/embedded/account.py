"""Which operating-system account runs the embedded server.

PostgreSQL refuses to run as root. An ordinary user runs the server as itself; root runs it
as an unprivileged account and changes no permission of any directory it did not make.

What runs in the embedded server, like a function in a backup under a restore test, can read
every file of that account. So it is never the account of another PostgreSQL server.
"""

import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacalls_cli.errors import IacallsError

# An account for nothing else, which the administrator may create.
DEDICATED = "iacalls-embedded"
CREATE_DEDICATED = f"useradd --system --no-create-home --shell /usr/sbin/nologin {DEDICATED}"
# In order of preference; the second one is on every system, and other services may use it too.
UNPRIVILEGED = (DEDICATED, "nobody")
# What packages of PostgreSQL and its derivatives create for their servers, here or on a machine to come.
PRODUCTION = ("postgres", "pgsql", "_postgresql", "enterprisedb")
# Homes of packaged servers.
SERVER_HOMES = ("/var/lib/postgresql", "/var/lib/pgsql", "/var/lib/postgres")


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


def server_account(data: Path | None = None) -> Account:
    """Return the account that runs the server: our own, or an unprivileged one if we are root.

    `data` is an existing cluster; as root, its owner runs it, whatever account a new one would get.
    Raises `IacallsError` if no account fits.
    """
    if os.geteuid() != 0:
        try:
            own = pwd.getpwuid(os.geteuid())
        except KeyError:
            raise IacallsError(
                f"PostgreSQL needs an account with a name, and the user id {os.geteuid()} has none",
                "run iacalls as a user that the system knows, or name a server with --dsn",
            ) from None
        return Account(own.pw_name, own.pw_uid, own.pw_gid, switch=False)
    if data is not None:
        with suppress(FileNotFoundError):  # destroyed in the meantime
            return owner_account(data)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)
        if account.uid != 0 and not is_production(account) and not runs_another(account):
            return account
    raise IacallsError(
        "PostgreSQL does not run as root, and this system has no account to run it instead",
        f"create one with `{CREATE_DEDICATED}`, or run iacalls as an ordinary user",
    )


def owner_account(data: Path) -> Account:
    """Return the account that owns a cluster; raise `IacallsError` if that is none that can run it."""
    uid = data.stat().st_uid
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        name = str(uid)
    else:
        name = entry.pw_name
        if uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid, switch=True)
    raise IacallsError(
        f"the embedded server's data in {data} belong to {name}, which cannot run PostgreSQL",
        f"chown -R {server_account().name}: {shlex.quote(str(data))}",
    )


def is_production(account: Account) -> bool:
    """Return whether an account is that of another PostgreSQL server: by its name, or as the owner of its home."""
    homes = [Path(home) for home in SERVER_HOMES]
    return account.name in PRODUCTION or any(home.is_dir() and home.stat().st_uid == account.uid for home in homes)


def runs_another(account: Account) -> bool:
    """Return whether a PostgreSQL server of an account runs on a data directory that is not embedded."""
    import psutil

    for process in psutil.process_iter(["uids", "name", "cwd"]):
        found = process.info
        if not found["uids"] or found["uids"].real != account.uid or not found["cwd"]:
            continue
        # Every process of a server works in its data directory.
        data = Path(found["cwd"])
        if found["name"] in ("postgres", "postmaster") and (data / "PG_VERSION").exists() and not is_embedded(data):
            return True
    return False


def is_embedded(data: Path) -> bool:
    """Return whether a data directory is of an embedded server: root made the lock file near it."""
    locks = [folder / "lock" for folder in (data.parent, data.parent.parent)]
    return any(lock.is_file() and lock.stat().st_uid == 0 for lock in locks)
