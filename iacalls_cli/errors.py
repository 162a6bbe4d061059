"""Exit codes and the errors that carry them. This module imports nothing of ours."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means, the same for every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    PROBLEMS_FOUND = 4
    INTERRUPTED = 130


class IacallsError(Exception):
    """An error to be told in one line: what is wrong, and what to do about it."""

    exit_code = ExitCode.FAILED
    sqlstate = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(IacallsError):
    """The command line, the configuration or an input file says something unusable."""

    exit_code = ExitCode.USAGE


class ConnectionFailed(IacallsError):
    """No connection to the target, or the connection was lost."""

    exit_code = ExitCode.NO_CONNECTION


class DatabaseUnavailable(ConnectionFailed):
    """The server is there and refuses this one database: it is missing, closed, or not for this role."""


class PasswordNeeded(ConnectionFailed):
    """The server asks for a password, and nothing supplied one; `place` says which server."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"cannot connect to {place}: the server asks for a password and none was given",
            "put it into ~/.pgpass or PGPASSWORD, or run at a terminal to be asked",
        )
        self.place = place


class DatabaseError(IacallsError):
    """The database refused or failed; `sqlstate` is its five-character code, or ''."""

    def __init__(self, message: str, hint: str = "", sqlstate: str = "") -> None:
        super().__init__(message, hint)
        self.sqlstate = sqlstate


class ProblemsFound(IacallsError):
    """A check ran to its end and found something; its findings are already printed."""

    exit_code = ExitCode.PROBLEMS_FOUND
