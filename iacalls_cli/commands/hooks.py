"""The hooks of a job, run at its start and its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.definition import BackupSettings
from iacalls_cli.operations.hooks import JobReport, run_hook
from iacalls_cli.units import read_duration


@dataclass
class Report:
    """What the hooks are told at the end."""

    target: str = ""
    file: str = ""


@contextmanager
def with_hooks(run: Invocation, config: BackupSettings, *, is_dry: bool) -> Iterator[Report]:
    """Tell the hooks of a job's start, and of its success or failure whatever that is."""
    report, began = Report(), time.monotonic()
    timeout = read_duration("hook_timeout", config.hook_timeout).total_seconds()

    def tell(words: tuple[str, ...], job: JobReport) -> None:
        if not is_dry and (failure := run_hook(words, job, timeout)):
            diagnostics.warning(failure)

    start = JobReport(run.command, "", "start")
    tell(config.on_start, start)
    declined: diagnostics.Declined | None = None
    try:
        yield report
    except diagnostics.Declined as answer:  # a no to the question after the backup is no failure of it
        declined = answer
    except BaseException as error:
        reason = diagnostics.redact(str(error)) or "interrupted"
        failed = replace(start, outcome="failure", target=report.target, seconds=time.monotonic() - began, error=reason)
        tell(config.on_failure, failed)
        raise
    done = replace(start, outcome="success", target=report.target, file=report.file, seconds=time.monotonic() - began)
    tell(config.on_success, done)
    if declined is not None:
        raise declined
