"""A folder of backups as tests look at it, and waiting for what comes about."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def left_in(folder: Path) -> list[str]:
    """The names in a folder, which need not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def wait_until(condition: Callable[[], T], seconds: float = 30) -> T:
    """The first answer of `condition` that is true; fails after some seconds."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)
    return answer
