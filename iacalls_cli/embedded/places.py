"""Where the embedded server keeps its files.

`<data folder>/server/` holds `data` (the cluster), `run` (the socket), `passfile` (for
the superuser, in libpq's format), `server.log`, `lock`, and as root `programs-<version>`.
"""

import contextlib
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from iacalls_cli.embedded.account import Account
from iacalls_cli.errors import IacallsError
from iacalls_cli.safe_files import user_folder

# sockaddr_un.sun_path holds 104 bytes on macOS and 108 on Linux, the final NUL included.
SOCKET_PATH_BYTES = 103
PORT = 5432  # only in the socket's name: the server has no TCP address
# What initdb, pg_ctl's shell or the server's lists of folders would not take as a part of a name.
STRANGE = "\"'`$\\,;"
REMOVE_TRIES = 25
SYSTEM_STATE = Path("/var/lib/iacalls")
HOME, CLUSTER = "server", "data"


@dataclass(frozen=True)
class Places:
    """The paths of one embedded server; nothing is created by looking at them."""

    home: Path
    socket_folder: Path
    port: int = PORT

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home / CLUSTER

    @property
    def unfinished(self) -> Path:
        """Where this process makes a cluster before it is renamed to `data`, or puts one to remove.

        Each process has its own: when one is killed, its initdb goes on writing for a moment.
        """
        return self.home / f"data.partial-{os.getpid()}"

    @property
    def new_password(self) -> Path:
        """The superuser's password on its way to initdb."""
        return self.home / f"password.partial-{os.getpid()}"

    def remove_unfinished(self) -> None:
        """Remove what this process and killed ones left behind, as far as it can be removed."""
        for leftover in self.home.glob("data.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for password in self.home.glob("password.partial-*"):
            password.unlink(missing_ok=True)

    @property
    def passfile(self) -> Path:
        """The superuser's password, readable by the operator alone."""
        return self.home / "passfile"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.home / "server.log"

    @property
    def lock(self) -> Path:
        """The file whose kernel lock serialises start, stop and destroy."""
        return self.home / "lock"

    @property
    def socket(self) -> Path:
        """The Unix-domain socket, the server's only address."""
        return self.socket_folder / f".s.PGSQL.{self.port}"

    def create(self, account: Account) -> None:
        """Make the folders that are missing; permissions of existing ones stay as they are."""
        try:
            make_folders(self.home, 0o755 if account.switch else 0o700)
            if not self.socket_folder.exists():
                make_folders(self.socket_folder.parent, 0o755 if account.switch else 0o700)
                self.socket_folder.mkdir(mode=0o700, exist_ok=True)
                account.give(self.socket_folder)
        except OSError as error:
            raise IacallsError(
                f"cannot make the embedded server's folder {error.filename}: {error.strerror}",
                "set XDG_DATA_HOME to a folder you may write to",
            ) from error
        owner = self.socket_folder.stat().st_uid
        if owner not in (account.uid, os.geteuid()):
            raise IacallsError(
                f"the socket folder {self.socket_folder} belongs to another user", "remove it, or set XDG_DATA_HOME"
            )


def make_folders(path: Path, mode: int) -> None:
    """`mkdir -p` where `mode`, whatever the umask, holds for the folders made here only."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)


def require_plain(path: Path) -> None:
    """Raise `IacallsError` for a path that PostgreSQL's programs would take for something else."""
    strange = sorted({character for character in str(path) if character in STRANGE or not character.isprintable()})
    if strange:
        raise IacallsError(
            f"the embedded server cannot live in {path}: PostgreSQL takes no {' '.join(strange)} in its path",
            "set XDG_DATA_HOME to a folder with a plain name",
        )


def find_homes() -> tuple[Path, ...]:
    """Return where this user's embedded server can be: below the user's data directory.

    For root, whose data directory (`/root` is closed) the server's account may not enter, also in a
    directory of the same name below /var/lib/iacalls.
    """
    data_folder = user_folder("data").absolute()
    if os.geteuid() != 0:
        return (data_folder / HOME,)
    return data_folder / HOME, SYSTEM_STATE / str(data_folder).strip("/").replace("/", "-") / HOME


def find_cluster() -> Path | None:
    """Return the data directory of this user's embedded server, or None if there is none yet."""
    return next((home / CLUSTER for home in find_homes() if (home / CLUSTER).exists()), None)


def find_places(account: Account) -> Places:
    """Return where this user's embedded server is, or where `account` can run a new one."""
    homes = find_homes()
    cluster = find_cluster()
    home = cluster.parent if cluster else homes[0] if account.can_reach(homes[0].parent) else homes[-1]
    require_plain(home)
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    short_name = f"iacalls-{account.uid}-{digest}"
    # Not TMPDIR: cron and a terminal have different ones, and must meet at the same socket.
    folders = (home / "run", Path("/tmp") / short_name)  # noqa: S108, its name is ours and its owner is checked
    candidates = (Places(home, folder) for folder in folders)
    return next(places for places in candidates if len(os.fsencode(places.socket)) <= SOCKET_PATH_BYTES)


def remove_all(folder: Path, keep: Path) -> None:
    """Remove what a folder holds but `keep`, even while the initdb of a killed process still writes there.

    Raises `IacallsError` naming what cannot be removed.
    """
    for _ in range(REMOVE_TRIES):
        left = [path for path in folder.iterdir() if path != keep]
        if not left:
            return
        for path in left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        time.sleep(0.1 if any(path.exists() for path in left) else 0)
    raise IacallsError(f"cannot remove {left[0]}", "does another user own files in it?")


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; files that go away meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            total += status.st_size
    return total
