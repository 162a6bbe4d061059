"""Durations, sizes and shares, as people type them (26h, 10MB, 30%) and as they are shown."""

import re
from datetime import timedelta

from iacalls_cli.errors import UsageError

DURATION = re.compile(r"(\d{1,15})\s*(ms|s|min|m|h|d|w)")
UNITS = {
    "ms": "milliseconds",
    "s": "seconds",
    "min": "minutes",
    "m": "minutes",
    "h": "hours",
    "d": "days",
    "w": "weeks",
}
SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(|bytes|kB|MB|GB|TB)")
SIZE_UNITS = {"": 0, "bytes": 0, "kB": 1, "MB": 2, "GB": 3, "TB": 4}
SHARE = re.compile(r"(\d{1,3})\s*%")


def split_duration(text: str) -> tuple[str, str]:
    """Return the number and the unit of a duration; two empty strings for what is none.

    >>> split_duration(" 26 h"), split_duration("soon")
    (('26', 'h'), ('', ''))
    """
    match = DURATION.fullmatch(text.strip())
    return (match[1], match[2]) if match else ("", "")


def read_duration(name: str, text: str) -> timedelta:
    """A duration; raises `UsageError` naming the option or key.

    >>> read_duration("max_age", "26h")
    datetime.timedelta(days=1, seconds=7200)
    """
    number, unit = split_duration(text)
    if not unit:
        raise UsageError(f"{name} is not a duration: {text}", "write for example 90s, 10min, 26h, 35d or 4w")
    try:
        return timedelta(**{UNITS[unit]: int(number)})
    except OverflowError:
        raise UsageError(f"{name} is too long: {text}", "write for example 90s, 10min, 26h, 35d or 4w") from None


def read_age(name: str, text: str, *, least: str = "") -> timedelta:
    """An age; raises `UsageError` for "m", which may be minutes or months, naming the option or key.

    With `least`, the reason why ages in anything shorter than hours are refused as well.

    >>> read_age("maintain.keep_archives", "36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    age = read_duration(name, text)
    number, unit = split_duration(text)
    if unit == "m":
        raise UsageError(
            f"{name} cannot be {text}: m may be minutes or months",
            f"write {number}min, or days: 180d",
        )
    if least and unit not in ("h", "d", "w"):
        raise UsageError(f"{name} cannot be {text}: {least}", "write hours, days or weeks: 36h, 90d or 26w")
    return age


def read_size(name: str, text: str) -> int:
    """A size in bytes, in PostgreSQL's units; raises `UsageError` naming the option or key.

    >>> read_size("min_size", "10MB")
    10485760
    """
    match = SIZE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{name} is not a size: {text}", "write for example 500kB, 10MB or 2GB")
    return int(float(match[1]) * 1024 ** SIZE_UNITS[match[2]])


def read_share(name: str, text: str) -> float:
    """A share of one; raises `UsageError` naming the option or key.

    >>> read_share("max_shrink", "30%")
    0.3
    """
    match = SHARE.fullmatch(text.strip())
    if not match or int(match[1]) > 100:
        raise UsageError(f"{name} is not a share: {text}", "write for example 30%")
    return int(match[1]) / 100


def pretty_duration(duration: timedelta) -> str:
    """A duration for people, in whole minutes.

    >>> pretty_duration(timedelta(hours=26, minutes=5)), pretty_duration(timedelta(days=9))
    ('26 h 5 min', '9 days')
    """
    minutes = max(0, int(duration.total_seconds() // 60))
    if minutes >= 72 * 60:
        return f"{minutes // 1440} days"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def rough_duration(seconds: float) -> str:
    """An estimate in seconds for people, rounded up to one unit.

    >>> rough_duration(0.2), rough_duration(90), rough_duration(5400)
    ('1 s', '2 min', '2 h')
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{-(-seconds // 60):.0f} min" if seconds < 3600 else f"{-(-seconds // 3600):.0f} h"
