"""The config files' `[maintain]`: how cleanups go, and further rules of what is old.

[maintain]
archives = "/srv/archives/iacalls"   # where deleted rows are kept
keep_archives = "180d"               # how long; for ever unless given
days = 30                            # WhatsApp conversations
failed_call_days = 60                # failed calls
max_duration = "30m"                 # a cleanup stops then, and the next one goes on
pause = "50ms"                       # between two transactions; as long as the last one unless given
running_within = "7d"                # a batch in which nothing happens for this long counts as ended

[maintain.rules.messages]            # a rule of your own: --only messages runs it alone
table = "conversation_messages"      # or schema.table; a name with a dot in double quotes, as in SQL
age_column = "sent_at"               # never updated_at: deleting a client rewrites that one
age = "180d"
filter = "direction = 'inbound'"     # a condition in SQL; all rows unless given
archive = true
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from iacalls_cli.config.built_in_rules import BUILT_IN_RULES
from iacalls_cli.errors import UsageError


@dataclass(frozen=True)
class RuleSettings:
    """One `[maintain.rules.NAME]`, as it is written."""

    name: str
    table: str
    age_column: str
    age: str
    filter: str = ""
    archive: bool = True


@dataclass(frozen=True)
class MaintainSettings:
    """What `[maintain]` says; None for what it does not."""

    archives: Path | None = None
    keep_archives: str | None = None
    days: int | None = None
    failed_call_days: int | None = None
    max_duration: str | None = None
    pause: str | None = None
    running_within: str | None = None
    rules: Mapping[str, RuleSettings] = field(default_factory=dict)


KEYS = tuple(field.name for field in fields(MaintainSettings))
RULE_KEYS = tuple(field.name for field in fields(RuleSettings) if field.name != "name")
REQUIRED = ("table", "age_column", "age")
NUMBERS = ("days", "failed_call_days")
MOST_DAYS = 36_500
# The config file and --only know the built-in rules by these names.
BUILT_IN = tuple(rule.name for rule in BUILT_IN_RULES)


def read_maintain_settings(content: Mapping[str, Any], path: Path, *, is_local: bool) -> dict[str, Any]:
    """The values of one file's `[maintain]`, its keys already known to be right.

    `is_local` says that the file is `./iacalls.toml`, which must not make a command delete rows: it may
    have come with a folder of somebody else's. Raises `UsageError` naming file and key.
    """
    if is_local and content:
        raise UsageError(
            f"{path}: 'maintain' would decide on deleting rows from a file in the current folder",
            "[maintain] may stand only in config.toml in your config folder",
        )
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key == "rules":
            if not isinstance(value, dict):
                raise UsageError(f"{path}: 'maintain.rules' is not a table", "write [maintain.rules.NAME]")
            values[key] = {name: read_rule(name, rule, path) for name, rule in value.items()}
        elif key in NUMBERS:
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_DAYS:
                raise UsageError(
                    f"{path}: 'maintain.{key}' is not a number of days: {value}", f"write one up to {MOST_DAYS}"
                )
            values[key] = value
        elif not isinstance(value, str) or not value:
            raise UsageError(f"{path}: 'maintain.{key}' is not a text", f'write {key} = "…"')
        else:
            values[key] = value
    if "archives" in values:
        try:
            values["archives"] = path.parent / Path(values["archives"]).expanduser()
        except RuntimeError:
            raise UsageError(f"{path}: 'maintain.archives' names a home that does not exist", "correct it") from None
    return values


def read_rule(name: str, content: Any, path: Path) -> RuleSettings:
    """One rule; raises `UsageError` naming file and key."""
    where = f"{path}: 'maintain.rules.{name}"
    if name in BUILT_IN:
        raise UsageError(f"{where}' has the name of a built-in rule", "give it another name")
    if not name.strip():
        raise UsageError(f"{path}: a rule in 'maintain.rules' has no name", "write [maintain.rules.NAME]")
    if not isinstance(content, dict):
        raise UsageError(f"{where}' is not a table", f"write [maintain.rules.{name}]")
    for key, value in content.items():
        if key not in RULE_KEYS:
            raise UsageError(f"{where}.{key}' is an unknown key", f"known keys: {', '.join(RULE_KEYS)}")
        if not isinstance(value, bool if key == "archive" else str) or value == "":
            example = "true" if key == "archive" else '"…"'
            raise UsageError(f"{where}.{key}' cannot be {value!r}", f"write {key} = {example}")
    for key in REQUIRED:
        if key not in content:
            raise UsageError(f"{where}' lacks {key}", f"a rule needs {', '.join(REQUIRED)}")
    return RuleSettings(name, **content)
