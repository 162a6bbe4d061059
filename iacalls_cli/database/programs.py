"""PostgreSQL's client programs: which of the installed ones fits a server, and running them.

pg_dump refuses a server newer than itself, and what a newer pg_dump or pg_restore writes an
older server may refuse. So the oldest installed ones that are not older than the server are
taken, from PATH, the distributions' version folders, or the bundled wheel.
"""

import ctypes
import fcntl
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from psycopg import pq
from psycopg.conninfo import make_conninfo

from iacalls_cli.config.target import Target
from iacalls_cli.database.connection import Connection, Session
from iacalls_cli.database.failures import NO_SLOT, NO_SLOT_HINT
from iacalls_cli.database.newer_options import explain_needs, newer_options, without_newer
from iacalls_cli.database.parameters import foreign_variables, is_encrypted_only, libpq_parameters, resolve
from iacalls_cli.database.settings import program_options
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import IacallsError, UsageError

# Debian and Ubuntu, Red Hat and its kin, Homebrew on both kinds of Mac.
VERSION_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
# Debian's programs in PATH are this script, which picks a version by rules of its own.
WRAPPER = "pg_wrapper"
# libpq calls them debugging options; whoever has them can log in.
LOGIN_KEYS = ("scram_client_key", "scram_server_key")
ENDING_SECONDS = 10
KEPT_LINES = 200
LOCK_TABLE_HINT = "You might need to increase max_locks_per_transaction."
PR_SET_PDEATHSIG = 1
PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class Programs:
    """A folder with the client programs of one PostgreSQL version; the bundle's know no TLS."""

    folder: Path
    version: str
    is_bundled: bool = False

    @property
    def major(self) -> int:
        """The major version."""
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]  # read by a pattern that begins so

    def __str__(self) -> str:
        origin = "bundled" if self.is_bundled else str(self.folder)
        return f"PostgreSQL {self.version} ({origin})"


def installed_programs() -> list[Programs]:
    """All sets of client programs on this machine, those of PATH first, the bundled ones last."""
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    for pattern in VERSION_FOLDERS:
        folders += sorted(Path("/").glob(pattern.lstrip("/")))
    found: dict[Path, Programs] = {}
    for folder in folders:
        dump = folder / "pg_dump"
        if not os.access(dump, os.X_OK) or not os.access(folder / "pg_restore", os.X_OK):
            continue
        real = dump.resolve()
        if real.name != WRAPPER and real not in found and (version := version_of(dump)):
            found[real] = Programs(folder, version)
    programs = list(found.values())
    try:
        bundle = bundled()
    except IacallsError:
        return programs
    return [*programs, Programs(bundle.programs, bundle.version, is_bundled=True)]


def version_of(program: Path) -> str:
    """The version a program tells, like 15.18; '' when it does not run."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+(\.\d+)*", done.stdout)
    return match[0] if match else ""


def choose_programs(major: int, *, encrypted: bool = False, needs: Mapping[str, int] | None = None) -> Programs:
    """The oldest installed programs that are not older than `major`, and know the options in `needs`.

    With `encrypted`, those that know TLS. Raises `IacallsError` saying what there is when none fits.
    """
    installed = installed_programs()
    fitting = [programs for programs in installed if programs.major >= major]
    known = ", ".join(str(programs) for programs in installed) or "none"
    if not fitting:
        raise IacallsError(
            f"no client programs (pg_dump, pg_restore) for PostgreSQL {major} are installed; there are: {known}",
            f"install PostgreSQL {major}'s client package, like postgresql-client-{major}",
        )
    usable = [programs for programs in fitting if not (encrypted and programs.is_bundled)]
    if not usable:
        raise IacallsError(
            "this connection is to be encrypted, and the bundled client programs know no TLS",
            f"install PostgreSQL {major}'s client package, like postgresql-client-{major}",
        )
    if needs:
        usable = [programs for programs in usable if programs.major >= max(needs.values())]
        if not usable:
            raise IacallsError(*explain_needs(needs, known))
    return min(usable, key=lambda programs: programs.major)


@dataclass(frozen=True)
class Client:
    """Client programs with the way to one database: the session's, by the same road.

    The password travels in the environment, never in the arguments, which other users can see.
    So do the settings, behind the user's own: they win over those of the role and the database.
    """

    programs: Programs
    conninfo: str
    application: str
    environment: Mapping[str, str] = field(repr=False)

    @contextmanager
    def start(self, name: str, *arguments: str, **streams: Any) -> Iterator["RunningProgram"]:
        """Start one of the programs; it is ended with the block, and with this process, whatever ends that."""
        command = [str(self.programs.folder / name), *arguments]
        with start_program(command, self.environment, **streams) as running:
            yield running


def connect_client(session: Session, target: Target, command: str, *, major: int = 0, database: str = "") -> Client:
    """Client programs for the server of an open session, on its database or another one there.

    `major` is an older bound than the server's version, for an archive that newer programs wrote.
    Raises `IacallsError` where no installed programs fit, `UsageError` for a key with a password.
    """
    info = session.connection.info
    parameters = libpq_parameters(target)
    if secrets_given := [name for name in secret_keywords() if parameters.get(name)]:
        raise UsageError(
            f"the client programs would show {secrets_given[0]} to other users (ps)", "use a file instead, or none"
        )
    resolved = resolve(parameters)
    wants_tls = is_encrypted_only(resolved)
    if session.connection.pgconn.ssl_in_use and not wants_tls:
        # As this session is: "prefer" would let the programs fall back.
        parameters["sslmode"] = "require"
    programs = choose_programs(
        max(info.server_version // 10_000, major),
        encrypted=bool(session.connection.pgconn.ssl_in_use) or wants_tls,
        needs=newer_options(resolved),
    )
    parameters.pop("password", None)
    pin_server(parameters, resolved, session.connection)
    parameters = without_newer(parameters, programs.major)
    parameters["dbname"] = database or info.dbname
    hidden = foreign_variables(target, parameters)
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    if info.password:
        environment["PGPASSWORD"] = info.password
    # Messages are read, and must be the same everywhere.
    environment.update(LC_ALL="C", LANGUAGE="C")
    options = [resolved.get("options", "")]
    if not session.is_pooled:  # poolers refuse options that they do not know
        options.append(program_options(info.server_version))
    if joined := " ".join(filter(None, options)):
        # libpq takes a service's options before those of the environment.
        parameters.pop("options", None)
        if resolved.get("service"):
            parameters["options"] = joined
        environment["PGOPTIONS"] = joined
    application = f"iacalls/{command} {secrets.token_hex(4)}"
    return Client(programs, make_conninfo(**parameters, application_name=application), application, environment)


def pin_server(parameters: dict[str, Any], resolved: Mapping[str, str], connection: Connection) -> None:
    """Let parameters lead to the very server of a session, where they name several or a name has several addresses.

    Another one of them may be a replica, and does not know the session's snapshot.
    """
    info = connection.info
    named = [resolved.get(name, "") for name in ("host", "hostaddr", "port")]
    if any("," in value for value in named):
        parameters.update(host=info.host, port=str(info.port))
        parameters.pop("hostaddr", None)
    if info.hostaddr and (any("," in value for value in named) or resolved.get("load_balance_hosts") == "random"):
        parameters["hostaddr"] = info.hostaddr
    if parameters.get("load_balance_hosts"):
        del parameters["load_balance_hosts"]


def secret_keywords() -> list[str]:
    """libpq's secrets but for the password, which has a variable of its own."""
    options = [(option.keyword.decode(), option.dispchar) for option in pq.Conninfo.get_defaults()]
    return [name for name, shown in options if (shown == b"*" and name != "password") or name in LOGIN_KEYS]


@dataclass
class RunningProgram:
    """A program at work, its stderr being collected."""

    name: str
    process: "subprocess.Popen[bytes]"
    lines: list[str] = field(default_factory=list)

    @cached_property
    def _reader(self) -> threading.Thread:
        return threading.Thread(target=self._read, daemon=True)

    def _read(self) -> None:
        assert self.process.stderr is not None  # noqa: S101, it was asked for
        with self.process.stderr as stream:
            for line in stream:
                if len(self.lines) < KEPT_LINES:
                    self.lines.append(line.decode("utf-8", "replace").rstrip())

    def wait(self) -> int:
        """Wait for the end; returns the exit code, negative for a signal."""
        code = self.process.wait()
        self._reader.join()
        return code

    def check(self) -> None:
        """Wait for the end; raises `IacallsError` with the program's own words unless it did its work."""
        if self.wait() != 0:
            cause = self.cause()
            raise IacallsError(f"{self.name} failed: {cause}", self.hint(cause))

    def cause(self) -> str:
        """What it said went wrong: its first error.

        Never the server's DETAIL behind it: of a row that breaks a constraint that shows every value.
        """
        own = f"{self.name}: detail: "
        for number, line in enumerate(self.lines):
            if "error:" in line or "FATAL:" in line or line.startswith("ERROR"):
                detail = next((more for more in self.lines[number + 1 :] if more.startswith(own)), "")
                shown = line.removeprefix(f"{self.name}: ").removeprefix("error: ")
                return f"{shown} {detail.removeprefix(own)}".strip()
        code = self.process.returncode
        return (self.lines or [f"ended by signal {-code}" if code < 0 else "it said nothing"])[-1]

    def hint(self, cause: str) -> str:
        """What to do about it: of the server's hints, only the one on its lock table is known to hold no value."""
        if NO_SLOT.search(cause):
            return NO_SLOT_HINT
        if "out of shared memory" in cause:
            words = (line.partition("HINT:")[2].strip() for line in self.lines if "max_locks_per_transaction" in line)
            return f"{next(filter(None, words), LOCK_TABLE_HINT)} (a dump locks every table at once)"
        return ""

    def stop(self) -> None:
        """End it where it still runs, gently first: pg_dump then cancels its query on the server."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(ENDING_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def end(self) -> None:
        """End it where it still runs, and close its streams."""
        self.stop()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with_closed(stream)
        self.wait()
        if self.process.stderr is not None:
            self.process.stderr.close()


def with_closed(stream: Any) -> None:
    """Close a pipe whose other end may be gone."""
    with suppress(BrokenPipeError):
        stream.close()


@contextmanager
def start_program(
    command: Sequence[str | bytes], environment: Mapping[str, str] | None = None, **streams: Any
) -> Iterator[RunningProgram]:
    """Start a program with its stderr collected; it ends with the block."""
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        preexec_fn=die_with_parent(),  # noqa: PLW1509, it makes one system call and takes no lock
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams},
    )
    running = RunningProgram(Path(str(command[0])).name, process)
    running._reader.start()  # noqa: SLF001, its own maker
    try:
        yield running
    finally:
        running.end()


def widen_pipe(pipe: Any) -> None:
    """Let a pipe hold a megabyte, where the system can: fewer changes between two processes."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def die_with_parent() -> Any:
    """What makes a new program end when this process is killed, so that it leaves no session behind.

    Only Linux has that; elsewhere a program notices when it next reads or writes a pipe of ours.

    A launcher in place of preexec_fn would do the same later and for less certain: util-linux's setpriv is not on
    every Linux and does not look whether the parent lives still; Python as a launcher has to start first.
    """
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # killed before it could be asked
            os._exit(1)

    return ask_kernel
