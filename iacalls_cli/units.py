"""Durations, sizes and shares as people type them: 26h, 10MB, 30%."""

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


def read_duration(name: str, text: str) -> timedelta:
    """A duration; raises `UsageError` naming the option or key.

    >>> read_duration("max_age", "26h")
    datetime.timedelta(days=1, seconds=7200)
    """
    match = DURATION.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{name} is not a duration: {text}", "write for example 90s, 10min, 26h, 35d or 4w")
    try:
        return timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError:
        raise UsageError(f"{name} is too long: {text}", "write for example 90s, 10min, 26h, 35d or 4w") from None


def read_age(name: str, text: str, *, least: str = "") -> timedelta:
    """An age; raises `UsageError` for "m", which may be minutes or months, naming the option or key.

    With `least`, the reason why ages in anything shorter than hours are refused as well.

    >>> read_age("maintain.keep_archives", "36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    age = read_duration(name, text)
    match = DURATION.fullmatch(text.strip())
    unit = match[2] if match else ""
    if unit == "m":
        raise UsageError(
            f"{name} cannot be {text}: m may be minutes or months",
            f"write {match[1] if match else 6}min, or days: 180d",
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
