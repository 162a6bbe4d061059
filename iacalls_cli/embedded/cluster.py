"""Making the embedded server's cluster, and telling whose it is."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from iacalls_cli.embedded.account import Account
from iacalls_cli.embedded.places import Places
from iacalls_cli.errors import IacallsError

SUPERUSER = "postgres"
# From this version on PostgreSQL brings a UTF-8 locale of its own, the same on every system.
BUILTIN_LOCALE = 17


def make_cluster(programs: Path, account: Account, places: Places, major: int, settings: Mapping[str, str]) -> None:
    """initdb beside the final place, then one rename: a half-made cluster is never used.

    Raises `IacallsError` with initdb's last words when it fails.
    """
    places.unfinished.mkdir(mode=0o700)
    account.give(places.unfinished)
    password = secrets.token_urlsafe(24)
    pwfile = places.unfinished / "password"
    write_private(pwfile, password + "\n")
    account.give(pwfile)
    data = places.unfinished / "data"
    command: list[str | Path] = [programs / "initdb", "-D", data, "-U", SUPERUSER, "-A", "scram-sha-256"]
    command += [f"--pwfile={pwfile}", "--data-checksums", "-E", "UTF8", *locale_options(major)]
    made = account.run(command)
    if made.returncode != 0:
        raise IacallsError(f"initdb failed: {last_line(made.stderr)}", f"is there room below {places.home}?")
    with (data / "postgresql.conf").open("a", encoding="utf-8") as conf:
        conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
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
    found = marker.read_text("ascii").strip() if marker.exists() else "an unknown version"
    if found != str(major):
        raise IacallsError(
            f"the embedded server's data in {places.data} were made by PostgreSQL {found}, "
            f"and this iacalls brings PostgreSQL {major}",
            "reinstall the iacalls that made them and save what you need, then `iacalls server destroy`",
        )


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from the first moment on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def last_line(text: str) -> str:
    """The last line of a program's output that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
