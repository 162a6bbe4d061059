"""Telling others of a job: a command run without a shell, or a URL that is fetched.

A hook learns of the job from its environment: IACALLS_JOB, IACALLS_TARGET, IACALLS_OUTCOME
(start, success, failure), IACALLS_FILE, IACALLS_SECONDS, IACALLS_ERROR. A URL gets nothing but
`{job}` replaced in it, because it leaves the machine.
"""

import http.client
import os
import signal
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

WEB = ("http://", "https://")
# What may hold a password: a hook's output ends up in mails and logs.
SECRET_VARIABLES = ("IACALLS_DSN", "PGPASSWORD", "DB_PASSWORD", "DATABASE_URL", "DATABASE_LOCAL_URL")
ERROR_CHARACTERS = 4000  # the system refuses to start a program with much longer variables


@dataclass(frozen=True)
class JobReport:
    """What a hook is told. `seconds` is the job's duration; `file` and `error` may be ''."""

    job: str
    target: str
    outcome: str
    file: str = ""
    seconds: float = 0
    error: str = ""

    def environment(self) -> dict[str, str]:
        """The variables a hook's command finds set."""
        return {
            "IACALLS_JOB": self.job,
            "IACALLS_TARGET": self.target,
            "IACALLS_OUTCOME": self.outcome,
            "IACALLS_FILE": self.file,
            "IACALLS_SECONDS": f"{self.seconds:.0f}",
            "IACALLS_ERROR": self.error[:ERROR_CHARACTERS],
        }


def run_hook(words: Sequence[str], report: JobReport, timeout: float) -> str:
    """Run one hook and wait for it, at most `timeout` seconds; returns what went wrong, or ''."""
    if not words:
        return ""
    name = words[0].split("?", 1)[0]
    timeout = min(timeout, threading.TIMEOUT_MAX)
    try:
        if words[0].startswith(WEB):
            fetch_url(words[0].replace("{job}", urllib.parse.quote(report.job.replace(" ", "-"))), timeout)
        else:
            run_command(words, report, timeout)
    except (subprocess.TimeoutExpired, TimeoutError):
        return f"the hook {name} did not end within {timeout:.0f} s and was ended"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        return f"the hook {name} failed: {reason}"
    except subprocess.CalledProcessError as error:
        return f"the hook {name} failed with exit code {error.returncode}"
    return ""


def run_command(words: Sequence[str], report: JobReport, timeout: float) -> None:
    """Run a command in a process group of its own, which is ended as a whole when it hangs."""
    process = subprocess.Popen(
        words,
        env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES} | report.environment(),
        stdin=subprocess.DEVNULL,
        stdout=2,  # our stdout is data
        start_new_session=True,
    )
    try:
        code = process.wait(timeout)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        raise subprocess.CalledProcessError(code, words[0])


def fetch_url(url: str, timeout: float) -> None:
    """Fetch a URL and throw the answer away; raises OSError or HTTPException for what is no success."""
    failures: list[Exception] = []

    def fetch() -> None:
        try:
            with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310, its scheme was looked at
                answer.read(1024)
        except urllib.error.HTTPError as error:
            error.close()  # it is an answer as well
            failures.append(error)
        except Exception as error:  # it is raised again in the thread that waits
            failures.append(error)

    # urllib's own limit is for each piece of an answer, and not for finding the address.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise TimeoutError
    if failures:
        raise failures[0]
