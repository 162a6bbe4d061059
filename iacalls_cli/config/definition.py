"""The config files: every table and key, with its type, its check, its default and its meaning.

What else is known of a key follows from here: what `config check` finds, which default an option has in the
help, what `config show` prints and what docs/config.md says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from iacalls_cli.config.built_in_rules import BUILT_IN_RULES
from iacalls_cli.config.checks import (
    Check,
    check_compression,
    check_directory,
    check_hook,
    check_lock_wait,
    check_min_keep,
    check_server_time,
    check_text,
    number_of_days,
    one_of,
    read_archive_age,
    read_positive,
    read_positive_age,
    text_for,
    whole_number,
)
from iacalls_cli.units import read_age, read_duration, read_share, read_size

MOST_JOBS = 64
MOST_DAYS = 36_500
HOOKS = ("on_start", "on_success", "on_failure")
# The config file and --only know the built-in rules by these names.
BUILT_IN = tuple(rule.name for rule in BUILT_IN_RULES)
# libpq's keywords that name a server or how to get in; the rest is iacalls's business.
CONNECTION_KEYS = (
    "service", "host", "hostaddr", "port", "dbname", "user", "password", "passfile", "sslmode", "sslrootcert",
    "sslcert", "sslkey", "sslcrl", "channel_binding", "require_auth", "requirepeer", "connect_timeout",
    "target_session_attrs", "options", "sslpassword",
)  # fmt: skip
# What libpq itself hides, or calls a debugging option: whoever has one of these can log in.
SECRET_KEYS = ("password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret")
# The only pooling mode in which a session's settings and locks are its own.
POOLER_MODES = ("session",)


def setting(default: Any, check: Check, meaning: str, option: str = "") -> Any:
    """Define a key; `option` is the parameter of the group's commands that it is the default of."""
    return field(default=default, metadata={"check": check, "meaning": meaning, "option": option})


@dataclass(frozen=True)
class Profile:
    """A named target: `dsn`, or libpq's keywords with their values; `pooler` as in `Target`."""

    name: str
    dsn: str
    keywords: Mapping[str, str]
    file: Path
    pooler: str = ""


@dataclass(frozen=True)
class QueriesSettings:
    """`[queries]`."""

    folder: Path | None = setting(None, check_directory, "Directory of your own reports, one SQL file each.")


@dataclass(frozen=True)
class SessionSettings:
    """`[session]`, as PostgreSQL writes times."""

    statement_timeout: str = setting("15min", check_server_time, "Maximum duration of a statement.")
    lock_timeout: str = setting("2s", check_server_time, "Maximum wait for a lock.")


@dataclass(frozen=True)
class BackupSettings:
    """`[backup]`; None for what has no default. A hook is a command's words, or one URL."""

    directory: Path | None = setting(
        None, check_directory, "Directory of the backups; `backups` in the user's data directory unless set.",
        "directory",
    )  # fmt: skip
    format: str = setting("custom", one_of("custom", "directory", "plain"), "Format of pg_dump.", "format")
    compress: str = setting("zstd:1", check_compression, "Compression: zstd:1 to zstd:19, gzip:N, or none.", "compress")
    jobs: int | None = setting(
        None, whole_number(1, MOST_JOBS), "Number of parallel jobs; the number of cores, at most 4, unless set.", "jobs"
    )
    lock_wait: str = setting("30s", check_lock_wait, "Maximum wait of a dump for a table that another session locks.")
    keep_daily: int = setting(7, whole_number(), "Number of daily backups to keep.", "keep_daily")
    keep_weekly: int = setting(4, whole_number(), "Number of weekly backups to keep.", "keep_weekly")
    keep_monthly: int = setting(12, whole_number(), "Number of monthly backups to keep.", "keep_monthly")
    min_keep: int = setting(3, check_min_keep, "Always keep at least this many recent backups.", "min_keep")
    max_age: str = setting("26h", text_for(read_age), "Maximum age of the latest backup (`backup check`).", "max_age")
    max_proven_age: str | None = setting(
        None, text_for(read_age), "Maximum age of the last restore test (`backup check`).", "max_proven_age"
    )
    min_size: str | None = setting(
        None, text_for(read_size), "Minimum size of the latest backup (`backup check`).", "min_size"
    )
    max_shrink: str = setting(
        "30%", text_for(read_share), "Maximum loss of size since the previous backup (`backup check`).", "max_shrink"
    )
    rehearse_timeout: str = setting(
        "12h", text_for(read_duration), "Maximum duration of a restore test on the embedded server."
    )
    on_start: tuple[str, ...] = setting((), check_hook, "Command or URL called when a job starts.")
    on_success: tuple[str, ...] = setting((), check_hook, "Command or URL called when a job succeeds.")
    on_failure: tuple[str, ...] = setting((), check_hook, "Command or URL called when a job fails.")
    hook_timeout: str = setting("60s", text_for(read_duration), "Maximum duration of a hook.")


@dataclass(frozen=True)
class RuleSettings:
    """One `[maintain.rules.NAME]`, as it is written."""

    name: str
    table: str
    age_column: str
    age: str
    filter: str = ""
    archive: bool = True


# The keys of a rule, and what each means.
RULE_KEYS = {
    "table": "Table, or schema.table; a name with a dot in double quotes, as in SQL.",
    "age_column": "Column with the age of a row; never updated_at, since deleting a client changes that one.",
    "age": "Age in hours, days or weeks from which a row is deleted.",
    "filter": "Condition in SQL; all rows unless set.",
    "archive": "Keep deleted rows in an archive.",
}
REQUIRED = ("table", "age_column", "age")


@dataclass(frozen=True)
class MaintainSettings:
    """`[maintain]`; None for what has no default."""

    archives: Path | None = setting(
        None, check_directory, "Directory of the deleted rows; `archives` in the user's data directory unless set.",
        "directory",
    )  # fmt: skip
    keep_archives: str | None = setting(
        None, text_for(read_archive_age), "Remove archives older than this; keep all unless set.", "keep_archives"
    )
    days: int = setting(
        30, number_of_days(MOST_DAYS), "Delete WhatsApp conversations older than this many days.", "days"
    )
    failed_call_days: int = setting(
        60, number_of_days(MOST_DAYS), "Delete failed calls older than this many days.", "failed_call_days"
    )
    max_duration: str = setting(
        "24h", text_for(read_positive), "Maximum duration of a cleanup; the next one continues.", "max_duration"
    )
    pause: str | None = setting(
        None, text_for(read_duration), "Pause between two transactions; as long as the last one unless set.", "pause"
    )
    running_within: str = setting(
        "7d", text_for(read_positive_age), "Time without activity after which a batch counts as ended."
    )
    rules: Mapping[str, RuleSettings] = field(
        default_factory=dict, metadata={"check": check_text, "meaning": "Your own rules, see below.", "option": ""}
    )


TABLES: Mapping[str, type] = {
    "queries": QueriesSettings,
    "session": SessionSettings,
    "backup": BackupSettings,
    "maintain": MaintainSettings,
}


@dataclass(frozen=True)
class Config:
    """What the config files say together; a later file's keys replace an earlier one's.

    `session` holds only what is set. `sources` tells the file of each key that is set, as `backup.jobs`.
    """

    default_profile: str = ""
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    queries_folder: Path | None = None
    session: Mapping[str, str] = field(default_factory=dict)
    backup: BackupSettings = field(default_factory=BackupSettings)
    maintain: MaintainSettings = field(default_factory=MaintainSettings)
    sources: Mapping[str, Path] = field(default_factory=dict, compare=False)

    @property
    def files(self) -> str:
        """The files that define profiles, for messages."""
        return ", ".join(sorted({str(profile.file) for profile in self.profiles.values()}))

    def option_defaults(self, group: str) -> dict[str, Any]:
        """Return the values of a group's table by the parameters of its commands that they are the defaults of."""
        settings = getattr(self, group)
        found = {item.metadata["option"]: getattr(settings, item.name) for item in fields(settings)}
        return {option: value for option, value in found.items() if option and value is not None}
