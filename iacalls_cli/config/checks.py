"""What a value of a config file may be: each check returns the value as it is used, or raises `ConfigError`."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from iacalls_cli.errors import UsageError
from iacalls_cli.units import read_age, read_duration

LOCAL_FILE = "iacalls.toml"
# A time as PostgreSQL writes it; a bare number is milliseconds.
SERVER_TIME = re.compile(r"\d+\s*(ms|s|min|h)?")
LOCK_WAIT = re.compile(r"\d{1,9}\s*(ms|s|min|h)?")
COMPRESSION = re.compile(r"none|zstd(:(0?[1-9]|1\d))?|gzip(:0?[1-9])?")


@dataclass(frozen=True)
class Place:
    """Where a value stands: file, table, rule and key. `mode` is what the file's permissions were when it was read."""

    file: Path
    mode: int = 0o600
    table: str = ""
    rule: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """The key with its tables, like maintain.rules.messages.age."""
        return ".".join(filter(None, (self.table, f"rules.{self.rule}" if self.rule else "", self.key)))

    @property
    def is_local(self) -> bool:
        """Whether this is `./iacalls.toml`, which may have come with a folder of somebody else's."""
        return self.file.name == LOCAL_FILE

    def at(self, key: str) -> "Place":
        """Return the place of a key in this table or rule."""
        return replace(self, key=key)

    def error(self, problem: str, hint: str) -> "ConfigError":
        """Return the error for the value here."""
        return ConfigError(f"{self.file}: '{self.name}' {problem}", hint, self)


class ConfigError(UsageError):
    """A config file that cannot be used; `place` names file, table, rule and key."""

    def __init__(self, message: str, hint: str, place: Place) -> None:
        super().__init__(message, hint)
        self.place = place


Check = Callable[[Place, Any], Any]
# Reads a text, and raises `UsageError` with the name of the option or key it is from.
Reader = Callable[[str, str], Any]


def check_text(place: Place, value: Any) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise place.error("is not a text", f'write {place.key} = "…"')
    return value


def check_text_or_number(place: Place, value: Any) -> str:
    """Return a text, perhaps empty, or a whole number as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise place.error("is not a text", f'write {place.key} = "…"')
    return str(value)


def text_for(*readers: Reader) -> Check:
    """Return a check for a text that each of these readers can read; it stays a text."""

    def check(place: Place, value: Any) -> str:
        text = check_text(place, value)
        try:
            for read in readers:
                read(f"{place.file}: {place.name}", text)
        except UsageError as error:
            raise ConfigError(error.message, error.hint, place) from None
        return text

    return check


def one_of(*words: str) -> Check:
    """Return a check for one of these words."""

    def check(place: Place, value: Any) -> str:
        if check_text(place, value) not in words:
            raise place.error(f"cannot be {value!r}", f"it is {', '.join(words)}")
        return str(value)

    return check


def whole_number(least: int = 0, most: int | None = None) -> Check:
    """Return a check for a whole number in these limits."""

    def check(place: Place, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise place.error(f"is not a number: {value}", f"write {place.key} = 2")
        if value < least or (most is not None and value > most):
            raise place.error(f"is not a number from {least} to {most}: {value}", f"write {place.key} = 2")
        return value

    return check


def check_min_keep(place: Place, value: Any) -> int:
    """Return how many backups to keep anyway; the latest one always stays."""
    return max(1, int(whole_number()(place, value)))


def number_of_days(most: int) -> Check:
    """Return a check for a number of days."""

    def check(place: Place, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise place.error(f"is not a number of days: {value}", f"write one up to {most}")
        return value

    return check


def check_directory(place: Place, value: Any) -> Path:
    """Return a directory; a relative one belongs to the file that names it, not to the working directory."""
    try:
        return place.file.parent / Path(check_text(place, value)).expanduser()
    except RuntimeError:
        raise place.error(f"names a home that does not exist: {value}", "correct it") from None


def check_server_time(place: Place, value: Any) -> str:
    """Return a time as PostgreSQL writes it: a number with ms, s, min or h."""
    text = check_text_or_number(place, value)
    if not SERVER_TIME.fullmatch(text):
        raise place.error(f"is not a time: {text}", "write for example 30s or 10min")
    return text


def check_lock_wait(place: Place, value: Any) -> str:
    """Return how long a dump waits for a table; without an end it is refused."""
    text = check_text(place, value)
    if not LOCK_WAIT.fullmatch(text):
        raise place.error(f"is not a time: {text}", "write for example 30s or 5min")
    text_for(read_duration)(place, text)
    if not round(read_duration(place.name, text).total_seconds()):
        raise place.error(f"cannot be {text}: the dump would wait for ever", f'write {place.key} = "30s"')
    return text


def check_compression(place: Place, value: Any) -> str:
    """Return a compression: none, or zstd or gzip with a level."""
    if not COMPRESSION.fullmatch(check_text(place, value)):
        raise place.error(f"cannot be {value!r}", "it is zstd:1 to zstd:19, gzip:1 to gzip:9, or none")
    return str(value)


def check_hook(place: Place, value: Any) -> tuple[str, ...]:
    """Return a hook's command as its words, or one URL; a text is split as a shell would, and no shell runs it."""
    if place.is_local:
        raise place.error(
            "would run a command from a file in the current folder",
            "hooks may stand only in config.toml in your config folder",
        )
    if place.mode & 0o020:
        raise place.error("runs a command, and a group may write the file", f"chmod g-w {place.file}")
    words = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or not "".join(words[:1]):
        raise place.error("is neither a command nor a URL", f'write {place.key} = ["program", "argument"]')
    if words[0].startswith(("http://", "https://")) and len(words) > 1:
        raise place.error("has something behind its URL", "write the URL alone")
    return tuple(words)


def read_positive(name: str, text: str, read: Callable[[str, str], timedelta] = read_duration) -> timedelta:
    """Return a duration that is longer than nothing; raises `UsageError` naming the option or key."""
    duration = read(name, text)
    if not duration:
        raise UsageError(f"{name} cannot be {text}", "leave it out, or give more than nothing")
    return duration


def read_positive_age(name: str, text: str) -> timedelta:
    """Return an age that is longer than nothing; see `read_age`."""
    return read_positive(name, text, read_age)


def read_archive_age(name: str, text: str) -> timedelta:
    """Return an age of archives: never so short that nearly every one would be removed."""
    return read_positive(
        name, text, lambda name, text: read_age(name, text, least="nearly every archive would be removed")
    )


def read_rule_age(name: str, text: str) -> timedelta:
    """Return the age of a cleanup rule: never so short that nearly every row would be old."""
    age = read_age(name, text, least="nearly every row would be old")
    if not age:
        raise UsageError(f"{name} is nothing: everything would be old", 'write "90d"')
    return age
