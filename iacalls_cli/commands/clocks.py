"""Two clocks, the server's and this machine's, and what is said where they differ."""

from datetime import UTC, datetime, timedelta

CLOCKS_MAY_DIFFER = timedelta(minutes=10)


def clock_difference(server_now: datetime) -> str:
    """Return in words how far this machine's clock is from the server's; '' where they agree."""
    difference = abs(server_now - datetime.now(UTC))
    if difference <= CLOCKS_MAY_DIFFER:
        return ""
    minutes = difference.total_seconds() / 60
    return (
        f"the server's clock says {server_now:%Y-%m-%d %H:%M} UTC and this machine's differs by {minutes:.0f} minutes"
    )
