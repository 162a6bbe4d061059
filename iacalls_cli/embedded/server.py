"""The embedded server's life: made and started on first use, left running, stopped, destroyed."""

import contextlib
import fcntl
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iacalls_cli.embedded.account import Account, is_production, runs_another, server_account
from iacalls_cli.embedded.bundle import Bundle, bundled
from iacalls_cli.embedded.cluster import SUPERUSER, cause_of, check_version, make_cluster, write_private
from iacalls_cli.embedded.places import Places, find_cluster, find_places, folder_size, remove_all
from iacalls_cli.errors import IacallsError
from iacalls_cli.safe_files import DamagedFile, open_lock, read_small
from iacalls_cli.table import Bytes, Prose

DATABASE = "iacalls_db"
START_SECONDS = 120
FAST_SECONDS = 20
LOG_BYTES = 5_000_000
PID_BYTES = 4096

# No TCP at all: the socket's folder is closed to other users, and SCRAM asks even those
# who get that far for a password.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class ServerStatus:
    """What `iacalls server status` tells.

    `state` is running, stopped, absent, or unreachable: it runs, and its socket is gone.
    """

    state: str
    version: str
    data_directory: Prose
    size: Bytes
    socket: Prose
    account: str
    log: Prose
    dsn: Prose


@dataclass(frozen=True)
class Server:
    """One PostgreSQL cluster of ours. Every method may be called by two processes at once."""

    bundle: Bundle
    account: Account
    places: Places
    settings: Mapping[str, str] = field(default_factory=lambda: SETTINGS)

    def is_running(self) -> bool:
        """Whether something accepts connections on our socket."""
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(str(self.places.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise IacallsError(
                f"cannot reach the embedded server's socket {self.places.socket}: {error.strerror}",
                "another user's server? run `iacalls server status` as that user",
            ) from error
        finally:
            probe.close()
        return True

    def exists(self) -> bool:
        """Whether there is a cluster, running or not."""
        return self.places.data.exists()

    def start(self) -> bool:
        """Start the server, making its cluster first where there is none.

        Returns whether it had to be started. Raises `IacallsError` when the data
        directory is of another major version or PostgreSQL does not come up, and as root
        for data that belong to the account of another PostgreSQL server.
        """
        if self.account.switch and is_production(self.account):
            raise self._wrong_account()
        if self.is_running():
            return False
        if self.account.switch and runs_another(self.account):
            raise self._wrong_account()
        self.places.create(self.account)
        with self._locked():
            if self.is_running():
                return False
            programs = self._usable_bundle().programs
            self.places.remove_unfinished()
            if self._is_alive():
                # It lost its socket, to something that cleans /tmp; nobody can be connected anew.
                self._stop_postmaster(programs)
            if self.exists():
                check_version(self.places, self.bundle.major)
            else:
                make_cluster(programs, self.account, self.places, self.bundle.major)
            self.places.remove_unfinished()
            self._remove_stale_pid()
            self._start_postmaster(programs)
        return True

    def stop(self) -> bool:
        """Stop the server, ending its sessions. Returns whether it was running."""
        if not self.exists():
            return False
        with self._locked():
            was_running = self._is_alive()
            if was_running:
                self._stop_postmaster(self._usable_bundle().programs)
            return was_running

    def destroy(self) -> None:
        """Stop the server and remove everything it ever stored."""
        if not self.places.home.exists():
            return
        self.stop()
        with self._locked():
            if self.exists():
                # One rename first: a removal that is cut short must not leave half a cluster.
                self.places.data.rename(self.places.unfinished)
            shutil.rmtree(self.places.socket_folder, ignore_errors=True)
            remove_all(self.places.home, keep=self.places.lock)
            # Last: whoever waits for the lock must not find a new one while we still remove.
            self.places.lock.unlink()
        with contextlib.suppress(OSError):  # somebody has started a new server in it
            self.places.home.rmdir()

    def status(self) -> ServerStatus:
        """The server's state and places; nothing is started or made."""
        exists = self.exists()
        state = "running" if exists and self.is_running() else "stopped" if exists else "absent"
        if state == "stopped" and self._is_alive():
            state = "unreachable"
        dsn = {**self.conninfo(DATABASE), "password": "", "passfile": str(self.places.passfile)} if exists else {}
        return ServerStatus(
            state,
            self.bundle.version,
            str(self.places.data),
            folder_size(self.places.data) if exists else 0,
            str(self.places.socket),
            self.account.name,
            str(self.places.log),
            " ".join(f"{key}={quoted(value)}" for key, value in dsn.items() if value),
        )

    def conninfo(self, database: str) -> dict[str, str]:
        """libpq's connection parameters of a database here, the superuser's password included."""
        password = ""
        if self.places.passfile.exists():
            password = self.places.passfile.read_text("utf-8", "replace").strip().rsplit(":", 1)[-1]
        return {
            "host": str(self.places.socket_folder),
            "port": str(self.places.port),
            "dbname": database,
            "user": SUPERUSER,
            "password": password,
            # The password goes to a server of this account alone, whoever made the socket.
            "requirepeer": self.account.name,
        }

    def _wrong_account(self) -> IacallsError:
        """The refusal to run as the account of another server; the owner of the data is the operator's to change."""
        places = self.places
        owned = [path for path in (places.data, places.socket_folder, places.log) if path.exists()]
        paths = " ".join(shlex.quote(str(path)) for path in owned)
        return IacallsError(
            f"the embedded server's data belong to {self.account.name}, the account of another PostgreSQL server; "
            "what runs in the embedded one could read that server's files",
            f"`iacalls server stop`, then `chown -R {server_account().name}: {paths}`; this keeps the data",
        )

    def _usable_bundle(self) -> Bundle:
        """The bundle itself, or a copy where the server's account cannot enter its folder."""
        if self.account.can_reach(self.bundle.programs):
            return self.bundle
        folder = self.places.home / f"programs-{self.bundle.version}"
        for old in self.places.home.glob("programs-*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)
        copy = self.bundle.copy_to(folder)
        if not self.account.can_reach(copy.programs):
            raise IacallsError(
                f"the account {self.account.name}, which runs the server, cannot enter {self.places.home}",
                "set XDG_DATA_HOME to a folder below which every user may look",
            )
        return copy

    def _remove_stale_pid(self) -> None:
        """Remove a dead server's lock files when their process id now belongs to something else.

        PostgreSQL takes any living process of its own account for a running server, which
        after a reboot or in a container would keep it from starting.
        """
        if self._is_alive():
            return
        for lock_file in (self._pid_file, self.places.socket.with_name(f"{self.places.socket.name}.lock")):
            lock_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.places.data / "postmaster.pid"

    def _is_alive(self) -> bool:
        """Return whether the process that postmaster.pid names is a server on our data directory.

        After a kill or a reboot its number may be that of another user's process, into which we cannot look.
        """
        import psutil

        try:
            process = psutil.Process(int(read_small(self._pid_file, PID_BYTES).split()[0]))
            return process.uids().real == self.account.uid and Path(process.cwd()) == self.places.data.resolve()
        except (FileNotFoundError, DamagedFile, ValueError, IndexError, OverflowError, psutil.NoSuchProcess):
            return False
        except psutil.AccessDenied:
            return True

    def _start_postmaster(self, programs: Path) -> None:
        log = self.places.log
        if log.exists() and log.stat().st_size > LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        if not log.exists():
            write_private(log, "", self.account)
        # On the command line, because as root we write no file of the server's account.
        settings = {
            "port": str(self.places.port),
            "unix_socket_directories": str(self.places.socket_folder),
            **self.settings,
        }
        options = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
        until = time.monotonic() + 10
        while True:
            seen = log.stat().st_size
            try:
                self._pg_ctl(programs, "start", "-l", log, "-o", options, "-t", str(START_SECONDS))
                return
            except IacallsError:
                said = log.read_bytes()[seen:].decode("utf-8", "replace")
                # After a kill -9 the dead server's children take a moment to go.
                if "shared memory block" in said and time.monotonic() < until:
                    time.sleep(0.2)
                    continue
                fatal = [line for line in said.splitlines() if "FATAL" in line] or said.splitlines()
                raise IacallsError(
                    "the embedded server did not start" + (f": {fatal[-1]}" if fatal else ""),
                    f"its log is {log}",
                ) from None

    def _stop_postmaster(self, programs: Path) -> None:
        try:
            self._pg_ctl(programs, "stop", "-m", "fast", "-t", str(FAST_SECONDS))
        except IacallsError:
            # PostgreSQL 18 can hang for ever when told to stop in the middle of crash recovery.
            # An immediate stop loses nothing: the next start recovers from the write-ahead log.
            self._pg_ctl(programs, "stop", "-m", "immediate", "-t", str(FAST_SECONDS))

    def _pg_ctl(self, programs: Path, action: str, *options: str | Path) -> None:
        done = self.account.run(
            [programs / "pg_ctl", action, "-w", "-D", self.places.data, *options], START_SECONDS + 10
        )
        if done.returncode != 0:
            raise IacallsError(f"pg_ctl {action} failed: {cause_of(done.stderr)}", f"its log is {self.places.log}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the kernel's lock on the lock file; it goes with the process, however that ends."""
        until = time.monotonic() + START_SECONDS
        while True:
            handle = open_lock(self.places.lock)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self.places.lock.exists() and os.path.samestat(os.fstat(handle), self.places.lock.stat()):
                    break
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(handle)
                    raise IacallsError(
                        "another iacalls is starting or stopping the embedded server and does not finish",
                        f"see who holds {self.places.lock}",
                    ) from None
            os.close(handle)
            time.sleep(0.05)
            self.places.create(self.account)
        try:
            yield
        finally:
            os.close(handle)


def quoted(value: str) -> str:
    """A value as a conninfo string takes it: macOS's data folder has a space in its name."""
    return f"'{value}'" if " " in value else value


def embedded_server() -> Server:
    """This user's embedded server."""
    account = server_account(find_cluster())
    return Server(bundled(), account, find_places(account))
