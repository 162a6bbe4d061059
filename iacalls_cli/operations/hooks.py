"""Telling others of a job: a command run without a shell, or a URL that is fetched.

A hook learns of the job from its environment: IACALLS_JOB, IACALLS_TARGET, IACALLS_OUTCOME
(start, success, failure), IACALLS_FILE, IACALLS_SECONDS, IACALLS_ERROR. A URL gets nothing but
`{job}` replaced in it, because it leaves the machine.
"""

import base64
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
    is_web = words[0].startswith(WEB)
    name = host_of(words[0]) if is_web else words[0]
    timeout = min(timeout, threading.TIMEOUT_MAX)
    try:
        if is_web:
            fetch_url(words[0].replace("{job}", urllib.parse.quote(report.job.replace(" ", "-"))), timeout)
        else:
            run_command(words, report, timeout)
    except (subprocess.TimeoutExpired, TimeoutError):
        return f"the hook {name} did not end within {timeout:.0f} s and was ended"
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = web_reason(error) if is_web else getattr(error, "strerror", None) or error
        return f"the hook {name} failed: {reason}"
    except subprocess.CalledProcessError as error:
        return f"the hook {name} failed with exit code {error.returncode}"
    return ""


def host_of(url: str) -> str:
    """Return what may be shown of a URL: its host. The rest may be secret: user, password, path and query.

    >>> host_of("https://ana:s3cret@hc.example:8443/0af3?token=x"), host_of("https://ana:s3/cret@hc.example")
    ('https://hc.example:8443', 'https://…')
    """
    scheme = url.partition(":")[0]
    try:
        parts = urllib.parse.urlsplit(url)
        host = f"{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")
    except ValueError:
        return f"{scheme}://…"
    # A slash in a password: then what looks like the host is the user.
    is_clear = host and "@" not in parts.path + parts.query + parts.fragment
    return f"{scheme}://{host if is_clear else '…'}"


def web_reason(error: Exception) -> str:
    """Return why a URL could not be fetched, without anything that may repeat the URL."""
    if isinstance(error, urllib.error.HTTPError):
        return http.client.responses.get(error.code, f"HTTP status {error.code}")
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, http.client.InvalidURL) or isinstance(reason, ValueError | str):
        return "the URL is not valid"
    if isinstance(reason, http.client.HTTPException):
        return f"no HTTP answer ({type(reason).__name__})"
    return str(getattr(reason, "strerror", None) or type(reason).__name__)


def make_request(url: str) -> urllib.request.Request:
    """Return the request for a URL; its user and password are sent as a header, and to that host alone."""
    parts = urllib.parse.urlsplit(url)
    login, _, address = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=address).geturl())  # noqa: S310, its scheme was looked at
    if login:
        token = base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


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
            with urllib.request.urlopen(make_request(url), timeout=timeout) as answer:  # noqa: S310, see there
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
