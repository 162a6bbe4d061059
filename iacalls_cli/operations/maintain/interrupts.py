"""Moments in which Ctrl-C and SIGTERM wait, so that a commit and what is noted of it stay together."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_back() -> Iterator[None]:
    """Hold a first interrupt back until the end of the block; a second one comes through at once."""
    if threading.current_thread() is not threading.main_thread():  # others are not interrupted
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            handlers[number](number, frame)

    for number in HELD:
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
            signal.signal(number, hold)
    try:
        yield
    finally:
        for replaced, handler in handlers.items():
            signal.signal(replaced, handler)
        if came:
            handlers[came[0]](came[0], None)
