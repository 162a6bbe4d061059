"""One job per database at a time: a kernel lock, which goes with the process however that ends."""

import contextlib
import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Iterator

from iacalls_cli.errors import IacallsError
from iacalls_cli.homes import user_folder
from iacalls_cli.operations.files import utc_now
from iacalls_cli.safe_files import open_lock
from iacalls_cli.stored_json import number_of, parse_json, text_of

# What it holds says who holds it, in one line.
MOST_BYTES = 4096


@contextlib.contextmanager
def only_job(job: str, system_identifier: str, database: str) -> Iterator[None]:
    """Be this user's only backup job on a database; never waits.

    Raises `IacallsError` naming the process that holds the lock.
    """
    folder = user_folder("data") / "locks"
    digest = hashlib.sha256(f"{system_identifier}/{database}".encode()).hexdigest()[:16]
    path = folder / f"backup-{digest}.lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open_lock(path)
    except OSError as error:
        raise IacallsError(
            f"cannot open the lock file {path}: {error.strerror}", "set XDG_DATA_HOME to a folder you may write to"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IacallsError(
                f"another backup job is at work on {database}: {holder(handle)}", "wait for it to end, then try again"
            ) from None
        about = {"job": job, "pid": os.getpid(), "user": user_name(), "since": utc_now()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(about).encode(), 0)
        yield
    finally:
        os.close(handle)


def user_name() -> str:
    """Who this process runs as; a number where the system has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def holder(handle: int) -> str:
    """Who holds a lock, as it wrote into the file."""
    try:
        about = parse_json(os.pread(handle, MOST_BYTES, 0))
        job, user, since = (text_of(about[key]) for key in ("job", "user", "since"))
        return f"{job}, process {number_of(about['pid'])} of {user}, since {since}"
    except (OSError, ValueError, TypeError, KeyError):
        return "it has just begun"
