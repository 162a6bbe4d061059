"""The config files: `config.toml` in the platform's config folder, then `./iacalls.toml`.

profile = "staging"                  # the profile used when none is named

[profiles.staging]
host = "10.1.2.3"                    # libpq's connection keywords, or dsn = "…"
dbname = "iacalls_db"
user = "postgres"
sslmode = "verify-full"
pooler = "session"                   # only behind a connection pooler in session mode

[queries]
folder = "~/iacalls-queries"         # your own reports: one SQL file each

[session]
statement_timeout = "15min"
lock_timeout = "2s"

[backup]                             # see backup.py
directory = "/srv/backups/iacalls"

[maintain]                           # see maintain.py
keep_archives = "180d"
"""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from iacalls_cli.config.backup import HOOKS, BackupSettings, read_backup_settings
from iacalls_cli.config.backup import KEYS as BACKUP_KEYS
from iacalls_cli.config.maintain import KEYS as MAINTAIN_KEYS
from iacalls_cli.config.maintain import MaintainSettings, read_maintain_settings
from iacalls_cli.errors import UsageError
from iacalls_cli.safe_files import DamagedFile, ForeignFile, open_trusted, user_folder

LOCAL_FILE = "iacalls.toml"
MOST_BYTES = 1 << 20
# libpq's keywords that name a server or how to get in; the rest is iacalls's business.
CONNECTION_KEYS = (
    "service", "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "sslmode", "sslrootcert",
    "sslcert", "sslkey", "sslcrl", "channel_binding", "require_auth", "requirepeer", "connect_timeout",
    "target_session_attrs", "options",
)  # fmt: skip
# The only pooling mode in which a session's settings and locks are its own.
POOLER_MODES = ("session",)
DURATION = re.compile(r"\d+\s*(ms|s|min|h)?")


@dataclass(frozen=True)
class Profile:
    """A named target: `dsn`, or libpq's keywords with their values; `pooler` as in `Target`."""

    name: str
    dsn: str
    keywords: Mapping[str, str]
    file: Path
    pooler: str = ""


@dataclass(frozen=True)
class Config:
    """What the config files say together; a later file's keys replace an earlier one's."""

    default_profile: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    queries_folder: Path | None = None
    session: Mapping[str, str] = field(default_factory=dict)
    backup: BackupSettings = field(default_factory=BackupSettings)
    maintain: MaintainSettings = field(default_factory=MaintainSettings)

    @property
    def files(self) -> str:
        """The files that define profiles, for messages."""
        return ", ".join(sorted({str(profile.file) for profile in self.profiles.values()}))


def config_files() -> tuple[Path, ...]:
    """The paths that are looked at, in order; they need not exist."""
    local = Path(LOCAL_FILE)
    with suppress(FileNotFoundError):  # the working folder is gone
        local = local.absolute()
    return user_folder("config") / "config.toml", local


def load_config(files: Iterable[Path] | None = None) -> Config:
    """Read the config files that exist.

    Raises `UsageError` naming file and key for what is unreadable, unknown or of the wrong type.
    """
    config = Config()
    for path in config_files() if files is None else files:
        try:
            text, mode = read_trusted(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise UsageError(f"cannot read the config file {path}: {error.strerror}", "check its permissions") from None
        except ForeignFile as error:
            raise UsageError(f"the config file {error.message}", "run this elsewhere, or chown the file") from None
        except DamagedFile as error:
            raise UsageError(f"the config file {error.message}", "a config file is a small regular file") from None
        except UnicodeDecodeError:
            raise UsageError(f"the config file {path} is not UTF-8 text", "save it as UTF-8") from None
        content = parse_toml(text, path)
        config = merge(config, content, path, mode)
    return config


def read_trusted(path: Path) -> tuple[str, int]:
    """The text of a config file and its mode; raises `UsageError` for one that every user may write.

    As git does with its own: the file, and a link to it, have to belong to this user, to root, or to who called
    sudo; another user could have put it there to redirect a connection. What was opened is what is looked at,
    and what is read.
    """
    handle = open_trusted(path)
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        if mode & 0o002:
            raise UsageError(f"every user of this machine may write the config file {path}", f"chmod o-w {path}")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise DamagedFile(f"{path} is too large")
    return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n"), mode


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """The content of a config file; raises `UsageError` naming file and line."""
    import tomllib

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the config file {path} is not valid TOML: {error}", "mend that line") from None


def merge(config: Config, content: Mapping[str, Any], path: Path, mode: int) -> Config:
    """`config` with what one file says laid over it; `mode` is what that one's permissions were when it was read."""
    check_keys(content, ("profile", "profiles", "queries", "session", "backup", "maintain"), path, "")
    queries = table(content, "queries", path)
    check_keys(queries, ("folder",), path, "queries.")
    session = table(content, "session", path)
    check_keys(session, ("statement_timeout", "lock_timeout"), path, "session.")
    backup = table(content, "backup", path)
    check_keys(backup, BACKUP_KEYS, path, "backup.")
    maintain = table(content, "maintain", path)
    check_keys(maintain, MAINTAIN_KEYS, path, "maintain.")
    is_local = path.name == LOCAL_FILE
    if mode & 0o020 and (hook := next((key for key in HOOKS if key in backup), "")):
        raise UsageError(f"{path}: 'backup.{hook}' runs a command, and a group may write the file", f"chmod g-w {path}")
    profiles = {name: read_profile(name, value, path, mode) for name, value in table(content, "profiles", path).items()}
    folder = read_text(queries, "folder", path, "queries.")
    return Config(
        read_text(content, "profile", path, "") or config.default_profile,
        {**config.profiles, **profiles},
        # A relative folder belongs to the file that names it, not to where one stands.
        path.parent / expand(folder, path) if folder else config.queries_folder,
        {**config.session, **{key: duration(session, key, path) for key in session}},
        replace(config.backup, **read_backup_settings(backup, path, is_local=is_local)),
        replace(config.maintain, **read_maintain_settings(maintain, path, is_local=is_local)),
    )


def expand(folder: str, path: Path) -> Path:
    """A folder with its `~` resolved."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise UsageError(f"{path}: 'queries.folder' names a home that does not exist: {folder}", "correct it") from None


def read_profile(name: str, value: Any, path: Path, mode: int) -> Profile:
    """One `[profiles.NAME]` table."""
    where = f"profiles.{name}."
    if not isinstance(value, dict):
        raise UsageError(f"{path}: profiles.{name} is not a table", f"write [profiles.{name}]")
    check_keys(value, ("dsn", "pooler", *CONNECTION_KEYS), path, where)
    dsn = read_text(value, "dsn", path, where)
    keywords = {key: read_text(value, key, path, where) for key in value if key not in ("dsn", "pooler")}
    pooler = read_text(value, "pooler", path, where)
    if "pooler" in value and pooler not in POOLER_MODES:
        raise UsageError(
            f"{path}: '{where}pooler' is not a usable pooling mode: {pooler}",
            'write pooler = "session" for a pooler in session mode; in other modes, name the server itself',
        )
    if bool(dsn) == bool(keywords):
        raise UsageError(
            f"{path}: profiles.{name} needs either dsn or keywords like host and dbname", "give one of them"
        )
    if ("password" in keywords or has_password(dsn)) and mode & 0o077:
        raise UsageError(
            f"the config file {path} holds a password and others may read it", f"chmod 600 {path}, or use ~/.pgpass"
        )
    return Profile(name, dsn, keywords, path, pooler)


def has_password(dsn: str) -> bool:
    """Whether a DSN, as a URI or a conninfo string, holds a password."""
    return bool(re.search(r"://[^/@\s]*:[^@\s]+@|\bpassword\s*=", dsn))


def check_keys(content: Mapping[str, Any], known: Iterable[str], path: Path, where: str) -> None:
    """Refuse unknown keys by name: a misspelt setting must never be a missing one."""
    known = tuple(known)
    for key in content:
        if key not in known:
            raise UsageError(f"{path}: unknown key '{where}{key}'", f"known keys: {', '.join(known)}")


def table(content: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    """A sub-table, empty when absent."""
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise UsageError(f"{path}: '{key}' is not a table", f"write [{key}]")
    return value


def read_text(content: Mapping[str, Any], key: str, path: Path, where: str) -> str:
    """A text value, or a number as text; '' when absent."""
    value = content.get(key, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UsageError(f"{path}: '{where}{key}' is not a text", f'write {key} = "…"')
    return str(value)


def duration(content: Mapping[str, Any], key: str, path: Path) -> str:
    """A time as PostgreSQL writes it: a number with ms, s, min or h."""
    value = read_text(content, key, path, "session.")
    if not DURATION.fullmatch(value):
        raise UsageError(f"{path}: 'session.{key}' is not a time: {value}", "write for example 30s or 10min")
    return value
