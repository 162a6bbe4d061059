"""A command line that gets a signal at a point of its own: `dying.py MODULE:NAME before|after TIMES SIGNAL ARGUMENTS…`.

Before or after the TIMES-th call of a function of ours, so that a test knows what was done and what was not.
"""

import functools
import importlib
import os
import sys

from iacalls_cli.__main__ import main


def die_at(place: str, moment: str, times: int, number: int) -> None:
    """Let a function send this process a signal."""
    module_name, _, path = place.partition(":")
    owner = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:  # a class, or a module that it uses
        owner = getattr(owner, parent)
    function, calls = getattr(owner, name), 0

    @functools.wraps(function)
    def wrapped(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if moment == "before" and calls == times:
            os.kill(os.getpid(), number)
        answer = function(*arguments, **options)
        if moment == "after" and calls == times:
            os.kill(os.getpid(), number)
        return answer

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    place, moment, times, number, *arguments = sys.argv[1:]
    die_at(place, moment, int(times), int(number))
    sys.argv[1:] = arguments
    main()
