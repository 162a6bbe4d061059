"""Making the embedded server's cluster, and telling whose it is."""

import os
import secrets
from pathlib import Path

from iacalls_cli.embedded.account import Account
from iacalls_cli.embedded.places import Places
from iacalls_cli.errors import IacallsError

SUPERUSER = "postgres"
# From this version on PostgreSQL brings a UTF-8 locale of its own, the same on every system.
BUILTIN_LOCALE = 17


def make_cluster(programs: Path, account: Account, places: Places, major: int) -> None:
    """initdb beside the final place, then one rename: a half-made cluster is never used.

    Raises `IacallsError` with initdb's last words when it fails.
    """
    password = secrets.token_urlsafe(24)
    # In a folder of our own: as root we write nothing below what the server's account owns,
    # where it could put a symbolic link in the way.
    write_private(places.new_password, password + "\n", account)
    places.unfinished.mkdir(mode=0o700)
    account.give(places.unfinished)
    data = places.unfinished / "data"
    command: list[str | Path] = [programs / "initdb", "-D", data, "-U", SUPERUSER, "-A", "scram-sha-256"]
    command += [f"--pwfile={places.new_password}", "--data-checksums", "-E", "UTF8", *locale_options(major)]
    made = account.run(command)
    if made.returncode != 0:
        raise IacallsError(f"initdb failed: {cause_of(made.stderr)}", f"is there room below {places.home}?")
    write_private(places.passfile, f"*:*:*:{SUPERUSER}:{password}\n")
    data.rename(places.data)


def locale_options(major: int) -> list[str]:
    """Options of initdb for UTF-8 that knows á and Ñ, without depending on the system's locales."""
    if major >= BUILTIN_LOCALE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8", "--lc-messages=C"]


def check_version(places: Places, major: int) -> None:
    """Raise `IacallsError` when the cluster was made by another major version."""
    marker = places.data / "PG_VERSION"
    found = marker.read_text("ascii", "replace").strip()[:8] if marker.exists() else "an unknown version"
    if found != str(major):
        raise IacallsError(
            f"the embedded server's data in {places.data} were made by PostgreSQL {found}, "
            f"and this iacalls brings PostgreSQL {major}",
            "reinstall the iacalls that made them and save what you need, then `iacalls server destroy`",
        )


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Write a file that only its owner, we or `account`, may read, from the first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        if account is not None and account.switch:
            os.fchown(file.fileno(), account.uid, account.gid)
        file.write(text)


def cause_of(text: str) -> str:
    """The line of a program's output that tells what went wrong: its first error, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line or "FATAL:" in line]
    return (errors or lines[-1:] or ["it said nothing"])[0]
