"""Two things timed in turn, so that a machine whose speed drifts is fair to both."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Comparison:
    """Medians of ours and the other in seconds (or megabytes), and the target for their ratio."""

    job: str
    ours: float
    other: float
    other_name: str
    target: float | None
    unit: str = "ms"

    @property
    def ratio(self) -> float:
        """Ours in relation to the other."""
        return self.ours / self.other

    def row(self) -> str:
        """A line of a Markdown table."""
        factor = 1000 if self.unit == "ms" else 1
        met = "" if self.target is None else "met" if self.ratio <= self.target else f"missed: {self.ratio:.2f}"
        wanted = "" if self.target is None else f"≤ {self.target:.2f}"
        ours, other = self.ours * factor, self.other * factor
        return (
            f"| {self.job} | {ours:,.0f} {self.unit} | {self.other_name} {other:,.0f} {self.unit} "
            f"| {self.ratio:.2f} | {wanted} | {met} |"
        )


HEAD = "| job | ours | the other | ratio | target | |\n|---|---|---|---|---|---|"


def print_table(title: str, comparisons: Sequence[Comparison]) -> None:
    """Print comparisons as a Markdown table."""
    print(f"\n### {title}\n\n{HEAD}")
    for comparison in comparisons:
        print(comparison.row(), flush=True)


def time_once(action: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def alternate(ours: Callable[[], object], other: Callable[[], object], runs: int) -> tuple[float, float]:
    """Medians of `runs` calls of each, in turn, after one of each that is not counted."""
    ours(), other()
    pairs = [(time_once(ours), time_once(other)) for _ in range(runs)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def process(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Callable[[], object]:
    """A whole process, its output thrown away."""

    def call() -> None:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})})

    return call


# The kernel counts what a process was before it became another program: the measured one is
# started by a small one.
LEAN = """
import json, os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - began, usage.ru_maxrss / 1024]))
"""


def peak_memory(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Seconds and peak resident megabytes of one process, as the kernel accounts for it."""
    lean = [sys.executable, "-c", LEAN, *map(str, command)]
    done = subprocess.run(lean, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}, check=True)
    code, seconds, megabytes = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{command[0]} ended with {code}")
    return seconds, megabytes
