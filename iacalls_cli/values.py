"""What people type for a query's parameters, read by the declared types."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from iacalls_cli.errors import UsageError
from iacalls_cli.units import UNITS, split_duration

# Not "m", which may be minutes or months.
AGO_UNITS = ("min", "h", "d", "w")
BOOLEANS = {"true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False}
LARGEST = {"integer": 2**31 - 1, "bigint": 2**63 - 1}


@dataclass(frozen=True)
class Clock:
    """What 'now' is, and the zone in which a day begins."""

    now: datetime
    zone: tzinfo

    @property
    def today(self) -> datetime:
        """The beginning of today in the zone."""
        return self.midnight(0)

    def midnight(self, days: int) -> datetime:
        """The beginning of the day so many days ago. Of an hour that is repeated then, the first."""
        day = self.now.astimezone(self.zone) - timedelta(days=days)
        return day.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def read_value(name: str, kind: str, choices: Sequence[str], text: str, clock: Clock) -> Any:
    """One value by its declared type `kind`; raises `UsageError` naming the parameter."""
    if choices and text not in choices:
        raise UsageError(f"{name} cannot be '{text}'", f"it is one of: {', '.join(choices)}")
    from decimal import Decimal, InvalidOperation

    try:
        match kind:
            case "integer" | "bigint":
                largest = LARGEST[kind]
                if (number := int(text)) > largest:
                    raise UsageError(f"{name} is too large for {kind}: {text}", f"at most {largest:,}")
                if number < -largest - 1:
                    raise UsageError(f"{name} is too small for {kind}: {text}", f"at least {-largest - 1:,}")
                return number
            case "numeric":
                return Decimal(text)
            case "boolean":
                return BOOLEANS[text.lower()]
            case "date":
                return read_moment(text, clock).date()
            case "timestamp":
                # Stored timestamps carry no zone and are UTC on the production server.
                return read_moment(text, clock).astimezone(UTC).replace(tzinfo=None)
            case _:
                return text
    except (ValueError, KeyError, InvalidOperation, OverflowError):
        wanted = {"date": "2025-10-29, today or yesterday", "timestamp": "2025-10-29, '2025-10-29 14:00', today or 7d"}
        raise UsageError(
            f"{name} is not {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {text}",
            f"write for example {wanted.get(kind, {'boolean': 'true'}.get(kind, '10'))}",
        ) from None


def read_moment(text: str, clock: Clock) -> datetime:
    """A moment: today, yesterday, so long ago (7d, 24h), or ISO 8601 in the clock's zone.

    Raises `ValueError` for anything else.
    """
    words = {"now": clock.now, "today": clock.today, "yesterday": clock.midnight(1)}
    if text.lower() in words:
        return words[text.lower()].astimezone(clock.zone)
    number, unit = split_duration(text.lower())
    if unit in AGO_UNITS:
        return (clock.now - timedelta(**{UNITS[unit]: int(number)})).astimezone(clock.zone)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=clock.zone)


def make_clock(zone: str) -> Clock:
    """The clock of a time zone; raises `UsageError` for one that does not exist."""
    if zone == "UTC":
        return Clock(datetime.now(UTC), UTC)
    from zoneinfo import ZoneInfo

    try:
        return Clock(datetime.now(UTC), ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise UsageError(f"there is no time zone {zone}", "write for example America/Bogota or UTC") from None
