"""The root of the command line: command groups loaded when used, and the error boundary."""

import importlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from iacalls_cli import __version__, diagnostics
from iacalls_cli.errors import ExitCode, IacallsError, UsageError
from iacalls_cli.group import TYPER_ERROR, Group

# The order of `iacalls --help`. Each name is a package of iacalls_cli.commands.
COMMANDS = ("demo", "db", "report", "backup", "maintain", "monitor", "users", "server", "config")


class LazyCommands(Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All command names."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group of that name, from its own module."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"iacalls_cli.commands.{cmd_name}.cli")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


def show_version(value: bool) -> None:
    """Print the version and stop."""
    if value:
        typer.echo(f"iacalls {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="iacalls",
    cls=LazyCommands,
    help="Run the PostgreSQL database of IA-Calls: install it, look at it, keep it well.\n\n"
    "Start with `iacalls demo`. `iacalls COMMAND --help` shows each command with examples.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before the command."""


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every error ends here, as one line on stderr."""
    try:
        prepare_streams()
        require_text(arguments)
        command = typer.main.get_command(app)
        outcome = command.main(arguments, prog_name="iacalls", standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else ExitCode.DONE
    except SystemExit as leaving:  # how Typer ends completion and its installation
        return leaving.code if isinstance(leaving.code, int) else ExitCode.DONE
    except diagnostics.Declined as answer:
        diagnostics.note(answer.message)
        return answer.exit_code
    except IacallsError as error:
        diagnostics.error(error)
        return error.exit_code
    except TYPER_ERROR as error:
        diagnostics.error(usage_error(error))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return interrupted()
    except BrokenPipeError:
        # The reader of a pipe went away, as head does.
        silence_stdout()
        return ExitCode.FAILED
    except UnicodeEncodeError:
        diagnostics.error(UsageError("an environment variable or a file name is not UTF-8 text", "set it in UTF-8"))
        return ExitCode.USAGE
    except OSError as error:
        name = f" {error.filename}" if error.filename else ""
        problem = IacallsError(f"the system refused{name}: {error.strerror or error}", "check space and permissions")
        diagnostics.error(problem)
        silence_stdout()
        return ExitCode.FAILED
    except Exception as error:  # the last resort: a bug must not print a traceback with secrets in it
        problem = IacallsError(
            f"internal error in {where(error)}: {type(error).__name__}: {error}", "please report this line"
        )
        diagnostics.error(problem)
        return ExitCode.FAILED


def require_text(arguments: list[str]) -> None:
    """Raise `UsageError` for an argument that is not UTF-8: no server would take it."""
    for number, argument in enumerate(arguments, 1):
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise UsageError(f"argument {number} is not UTF-8 text", "type it in UTF-8")


def prepare_streams() -> None:
    """UTF-8 on every stream, whatever the locale: names hold á, ñ and ¿ under LANG=C too.

    A stream that was closed (`<&-`, `2>&-`) is empty, or takes everything and keeps nothing.
    """
    sys.stdin = sys.stdin or nothing("r")
    sys.stderr = sys.stderr or nothing("w")
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # What cannot be read exactly, a password for one, must not be read at all.
            stream.reconfigure(encoding="utf-8", errors="strict" if stream is sys.stdin else "backslashreplace")
    if sys.stdout is None:
        sys.stdout = nothing("w")
        raise IacallsError("stdout is closed, and there the answer would go", "leave it open, or >/dev/null")


def nothing(mode: str) -> TextIO:
    """A stream that is empty, and keeps nothing."""
    return cast("TextIO", Path(os.devnull).open(mode, encoding="utf-8"))


def usage_error(error: Exception) -> UsageError:
    """Typer's error for a wrong command line, as ours."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "iacalls"
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    # Typer wraps the words of the library that validates.
    message = message.replace("Value error, ", "")
    if "unexpected extra argument" in message:
        # It may be a password that was meant for stdin, or a DSN with one.
        return UsageError("there is an argument too many", f"a DSN stands behind --dsn; `{path} --help` shows the rest")
    if "No such option" in message and hasattr(getattr(context, "command", None), "list_commands"):
        return UsageError(message, f"options stand behind the command: `{path} COMMAND --help` shows them")
    return UsageError(message, f"`{path} --help` shows the options")


def where(error: BaseException) -> str:
    """The innermost place in our own code that an exception went through."""
    place = "iacalls"
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if "iacalls_cli" in code.co_filename:
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def silence_stdout() -> None:
    """Send what is still buffered nowhere, so that Python does not fail on it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def interrupted() -> int:
    """What Ctrl-C leaves: the current step's transaction is rolled back, its files are gone."""
    diagnostics.note("interrupted")
    return ExitCode.INTERRUPTED
