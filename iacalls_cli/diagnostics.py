"""Everything on stderr: errors, warnings, notes, progress, questions.

The command line is run by people at night and by cron: one line each, no colour where
there is no terminal, never a secret, never a control character from the outside.
"""

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from iacalls_cli.errors import ExitCode, IacallsError
from iacalls_cli.text import one_line, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

RED, YELLOW, PLAIN = "1;31", "33", ""
WAITING_SECONDS = 1.0
# Rich cuts what is higher than the terminal at its lower end, where the step at work is.
MOST_BARS = 10
# user:password@ in a URI, and password=… in a conninfo string, sslpassword and other secrets of libpq as well.
URI_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")
CONNINFO_PASSWORD = re.compile(
    r"((?:password|scram_\w+_key|client_secret)\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE
)

Progress = Callable[[str, int, int], None]


class Declined(IacallsError):
    """The user was asked and said no, which is an answer and no failure; nothing was changed."""

    exit_code = ExitCode.DONE


class Verbosity:
    """How much is said; set once by the shared options."""

    quiet = False
    verbose = False


def redact(text: str) -> str:
    """Text without passwords that look like parts of a DSN.

    >>> redact("postgresql://ana:s3cret@db/x password='a b' host=db")
    'postgresql://ana:***@db/x password=*** host=db'
    """
    return CONNINFO_PASSWORD.sub(r"\1***", URI_PASSWORD.sub(r"\1***@", text))


def has_colour() -> bool:
    """Whether stderr is a terminal that wants colour (https://no-color.org)."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(label: str, text: str, colour: str = PLAIN) -> None:
    """One line on stderr."""
    label = f"\x1b[{colour}m{label}\x1b[0m" if colour and has_colour() else label
    with suppress(OSError):  # a full disk under the log must not change what the command does
        sys.stderr.write(f"iacalls: {label}{one_line(redact(text))}\n")
        sys.stderr.flush()


def error(problem: IacallsError) -> None:
    """Tell an error and what to do about it."""
    end = "" if problem.message.endswith(("?", "!")) else "."
    hint = f"{end} Hint: {problem.hint}" if problem.hint else ""
    say("error: ", problem.message.rstrip(".") + hint, RED)


def warning(text: str) -> None:
    """Something that is dangerous but does not stop the command; --quiet keeps it."""
    say("warning: ", text, YELLOW)


def note(text: str) -> None:
    """Something good to know."""
    if not Verbosity.quiet:
        say("", text)


def detail(text: str) -> None:
    """Something only --verbose tells."""
    if Verbosity.verbose:
        say("", text)


def confirm(question: str) -> None:
    """Ask y/N at the terminal; raises `Declined` unless the answer is yes."""
    if ask(f"{question} [y/N] ").strip().lower() not in ("y", "yes", "s", "si", "sí"):
        raise Declined("not confirmed, nothing was changed")


def confirm_name(question: str, name: str) -> None:
    """Ask to type a name; raises `Declined` for no answer or a no, and an error for another name."""
    answer = ask(f"{question} Type {name} to go on: ").strip()
    if answer.lower() in ("", "n", "no") and answer != name:
        raise Declined("not confirmed, nothing was changed")
    if answer != name:
        raise IacallsError(f"{name} was not typed, nothing was changed", "check which database is meant")


def ask(question: str) -> str:
    """A line from the terminal; the question goes to stderr, because stdout is data."""
    sys.stderr.write(printable(question))
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline()
    except UnicodeDecodeError:
        answer = ""
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return answer


def ask_hidden(question: str) -> str:
    """A line typed without echo."""
    import getpass

    try:
        return getpass.getpass(printable(question), stream=sys.stderr)
    except EOFError:
        raise IacallsError("no password was given, nothing was changed") from None


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show, at a terminal and after a second, that something still runs."""
    if Verbosity.quiet or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def spin() -> None:
        if done.wait(WAITING_SECONDS):
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            progress.add_task(what, total=None)
            done.wait()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def progress() -> Iterator[Progress]:
    """A callable (step, done, total) that draws bars at a terminal and logs one line a step elsewhere."""
    if Verbosity.quiet:
        yield lambda step, done, total: None
    elif sys.stderr.isatty():
        with rich_progress() as bars:
            tasks: dict[str, TaskID] = {}

            def draw(step: str, done: int, total: int) -> None:
                if step not in tasks:
                    for task in [task for task in bars.tasks if task.finished][
                        : max(0, len(bars.tasks) + 1 - MOST_BARS)
                    ]:
                        bars.remove_task(task.id)
                    tasks[step] = bars.add_task(step, total=total)
                if tasks[step] in bars.task_ids:
                    bars.update(tasks[step], completed=done, total=total)

            yield draw
    else:

        def log(step: str, done: int, total: int) -> None:
            if done >= total:
                note(f"{step}: {total:,}")

        yield log


def rich_progress() -> "RichProgress":
    """Rich's progress display on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))
