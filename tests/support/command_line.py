"""Running the command line: in this process, in a new one, and at a terminal."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from iacalls_cli.app import run

TERMINAL_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one error line on stderr; more than one, or none, fails the test."""
        lines = [line for line in self.err.splitlines() if line.startswith("iacalls: error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


class CommandLine:
    """Calls commands in this process, as `iacalls("db", "verify")`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, *arguments: str, stdin: str = "") -> Outcome:
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capfd.readouterr()
        code = run(list(arguments))
        out, err = self.capfd.readouterr()
        return Outcome(int(code), out, err)


def run_process(*arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, **options: Any) -> Outcome:
    """Run `python -m iacalls_cli` as a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "iacalls_cli", *arguments],
        input=stdin.encode(),
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=options.pop("timeout", 120),
        **options,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def start_process(*arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
    """Start `python -m iacalls_cli` and do not wait for it."""
    command = [sys.executable, "-m", "iacalls_cli", *arguments]
    options.setdefault("preexec_fn", answer_signals)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


@contextmanager
def running_process(*arguments: str, **options: Any) -> "Iterator[subprocess.Popen[bytes]]":
    """The same for the block; what still runs after it, as after a failed assertion, is killed."""
    process = start_process(*arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answer_signals() -> None:
    """Let a new process answer Ctrl-C and a hangup, also where the tests themselves ignore them (`&`, nohup)."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def run_terminal(
    *arguments: str, answers: Sequence[tuple[str, str]] = (), columns: int = 80, env: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a command at a pseudo-terminal; `answers` are (what to wait for, what to type).

    Returns the exit code and everything the terminal received, stdout and stderr together.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        environment = {**os.environ, "COLUMNS": str(columns), "LINES": "50", "TERM": "xterm-256color", **(env or {})}
        os.execve(sys.executable, [sys.executable, "-m", "iacalls_cli", *arguments], environment)
    screen, pending, until = b"", list(answers), time.monotonic() + TERMINAL_SECONDS
    seen, is_open = 0, True
    while is_open and time.monotonic() < until:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the other end is closed: Linux says so with EIO
            piece = b""
        is_open = bool(piece)
        screen += piece
        if pending and pending[0][0].encode() in screen[seen:]:
            seen = len(screen)
            # A Ctrl-C in the very moment between a question and the reading of its answer is lost.
            time.sleep(0.1)
            os.write(terminal, pending.pop(0)[1].encode())
    if is_open:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    shown = screen.decode().replace("\r\n", "\n")
    assert not is_open, f"the command waits for something at the terminal:\n{shown}"
    return os.waitstatus_to_exitcode(status), shown
