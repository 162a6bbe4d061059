"""Where the embedded server keeps its files.

`<data folder>/server/` holds `data` (the cluster), `run` (the socket), `passfile` (for
the superuser, in libpq's format), `server.log`, `lock`, and as root `programs-<version>`.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from iacalls_cli.embedded.account import Account
from iacalls_cli.errors import IacallsError

# sockaddr_un.sun_path holds 104 bytes on macOS and 108 on Linux, the final NUL included.
SOCKET_PATH_BYTES = 103
PORT = 5432  # only in the socket's name: the server has no TCP address
SYSTEM_STATE = Path("/var/lib/iacalls")


@dataclass(frozen=True)
class Places:
    """The paths of one embedded server; nothing is created by looking at them."""

    home: Path
    socket_folder: Path
    port: int = PORT

    @property
    def data(self) -> Path:
        """The cluster's data directory."""
        return self.home / "data"

    @property
    def unfinished(self) -> Path:
        """Where this process makes a cluster before it is renamed to `data`, or puts one to remove.

        Each process has its own: when one is killed, its initdb goes on writing for a moment.
        """
        return self.home / f"data.partial-{os.getpid()}"

    def remove_unfinished(self) -> None:
        """Remove what killed processes left behind, as far as it can be removed."""
        for leftover in self.home.glob("data.partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)

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


def find_places(account: Account) -> Places:
    """Where this user's embedded server is.

    In the user's data folder; for root, when the server's account cannot enter that one
    (`/root` is closed), in a folder of the same name below /var/lib/iacalls.
    """
    import platformdirs

    data_folder = Path(platformdirs.user_data_dir("iacalls", appauthor=False)).absolute()
    if not account.can_reach(data_folder):
        data_folder = SYSTEM_STATE / str(data_folder).strip("/").replace("/", "-")
    home = data_folder / "server"
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    short_name = f"iacalls-{account.uid}-{digest}"
    # Not TMPDIR: cron and a terminal have different ones, and must meet at the same socket.
    folders = (home / "run", Path("/tmp") / short_name)  # noqa: S108, its name is ours and its owner is checked
    candidates = (Places(home, folder) for folder in folders)
    return next(places for places in candidates if len(os.fsencode(places.socket)) <= SOCKET_PATH_BYTES)
