"""What every command has in common: its target, its session, its answer, its questions."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import typer

from iacalls_cli import diagnostics, options
from iacalls_cli.errors import PasswordNeeded, UsageError
from iacalls_cli.group import Command
from iacalls_cli.output.write import Format, write_result
from iacalls_cli.table import Result, Table
from iacalls_cli.text import BYTE_ORDER_MARK

if TYPE_CHECKING:
    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Limits, Session

CommandFunction = Callable[..., None]
SharedOptions = Mapping[str, tuple[Any, Any]]
QUIET_OPTIONS = {"quiet": (options.Quiet, False), "verbose": (options.Verbose, False)}
OUTPUT_OPTIONS = {"output": (options.Output, Format.TABLE), **QUIET_OPTIONS}
TARGET_OPTIONS = {"dsn": (options.Dsn, None), "profile": (options.Profile, None)}
WRITE_OPTIONS = {"dry_run": (options.DryRun, False), "yes": (options.Yes, False)}
CONFIRM_OPTIONS = {"confirm": (options.Confirm, None)}


@dataclass
class Invocation:
    """One run of a command, with the shared options it was given."""

    command: str
    dsn: str | None = None
    profile: str | None = None
    output: Format = Format.TABLE
    dry_run: bool = False
    yes: bool = False
    confirm: str | None = None
    place: Mapping[str, str] | None = None
    password: str | None = field(default=None, repr=False)
    is_encrypted: bool = False

    def target(self) -> "Target":
        """The chosen target; see `choose_target`."""
        from iacalls_cli.config.target import choose_target

        return choose_target(self.dsn, self.profile)

    @contextmanager
    def session(
        self,
        *,
        target: "Target | None" = None,
        database: str | None = None,
        read_only: bool = True,
        limits: "Limits | None" = None,
        is_named: bool = True,
        fixed_money: bool = False,
    ) -> Iterator["Session"]:
        """A session on the target, named on stderr (unless not `is_named`), closed at the end.

        psycopg's errors inside the block come out as iacalls's. `fixed_money` is for rows that are
        kept as text and read back.
        """
        from iacalls_cli.database.connection import open_session
        from iacalls_cli.database.failures import database_errors

        chosen = target or self.target()
        connect = partial(
            open_session,
            chosen,
            self.command,
            database=database,
            read_only=read_only,
            limits=limits or self.limits(),
            fixed_money=fixed_money,
            # Once one of them was: a server or somebody between us might offer no TLS to the next.
            encrypted=self.is_encrypted and not chosen.is_embedded,
        )
        try:
            with diagnostics.waiting("connecting"):
                session = connect(password=self.password)
        except PasswordNeeded as needed:
            if not sys.stdin.isatty():
                raise
            # Asked where no spinner hides the question, and once for all sessions of this run.
            self.password = diagnostics.ask_hidden(f"Password for {needed.place}: ")
            with diagnostics.waiting("connecting"):
                session = connect(password=self.password)
        self.is_encrypted = self.is_encrypted or bool(session.connection.pgconn.ssl_in_use)
        if is_named:
            self.announce(session)
        try:
            with database_errors():
                yield session
        finally:
            session.close()

    def repeat(self, command: str) -> str:
        """Another command on the same target, as it would be typed."""
        option = f" --profile {self.profile}" if self.profile else ""
        if self.dsn is not None:
            option = " --dsn embedded" if self.dsn.strip() == "embedded" else " --dsn …"
        return f"`iacalls {command}{option}`"

    def limits(self) -> "Limits":
        """The time-outs of a reporting session, as the config file sets them."""
        from iacalls_cli.config.file import load_config
        from iacalls_cli.database.connection import REPORTING

        return replace(REPORTING, **load_config().session)

    def announce(self, session: "Session") -> None:
        """Name the target on stderr, and what is not safe about the way to it."""
        self.place = session.place.as_json()
        diagnostics.note(f"target: {session.place} ({session.place.source})")
        info = session.connection.info
        version = info.parameter_status("server_version")
        encrypted = "encrypted" if session.connection.pgconn.ssl_in_use else "not encrypted"
        diagnostics.detail(f"server: PostgreSQL {version}, session {info.backend_pid}, {encrypted}, {session.limits}")
        if session.is_pooled:
            diagnostics.detail("through a connection pooler in session mode; the session is reset at the end")
        if session.left_out:
            diagnostics.note(f"options of other drivers in the URL are left out: {', '.join(session.left_out)}")
        for warning in session.warnings:
            diagnostics.warning(warning)

    def write(self, result: Result | Table) -> None:
        """Write the command's result to stdout."""
        if isinstance(result, Table):
            result = Result(result)
        write_result(result, self.output, self.command, self.place or {})

    def confirm_action(self, question: str) -> None:
        """For what can be undone: ask y/N at a terminal, go on without one."""
        if not self.yes and sys.stdin.isatty():
            diagnostics.confirm(question)

    def confirm_by_name(self, question: str, name: str, *, is_embedded: bool) -> None:
        """For what cannot be undone: have the name typed, or given with --confirm.

        Raises `UsageError` without a terminal and without the right --confirm.
        """
        if self.confirm == name or (is_embedded and self.yes):
            return
        if self.confirm is not None:
            raise UsageError(f"--confirm says {self.confirm}, and the name is {name}", "check which database is meant")
        if not sys.stdin.isatty():
            raise UsageError(
                f"{self.command} asks for the name, and there is no terminal to ask", f"give --confirm {name}"
            )
        diagnostics.confirm_name(question, name)


def note_if_empty(table: Table, wanted: Mapping[str, Any], check: Callable[[], None] = lambda: None) -> Table:
    """The same rows, after saying so where there are none: a misspelt name finds nothing either.

    Only the first row is waited for. Where there is none, `check` may raise an error for such a name.
    """
    rows = iter(table.rows)
    first = next(rows, None)
    if first is not None:
        return replace(table, rows=chain((first,), rows))
    check()
    given = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
    diagnostics.note(f"no row was found{' for ' + given if given else ''}")
    return table


def read_secret() -> str:
    """A password from the first line of stdin; raises `UsageError` unless that is UTF-8 text.

    The byte order mark that Windows PowerShell sends before what it pipes is not part of it.
    """
    try:
        return sys.stdin.readline().removeprefix(BYTE_ORDER_MARK).rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError("the password on stdin is not UTF-8 text", "send it as UTF-8") from None


def ask_twice(question: str) -> str:
    """A password typed twice without echo; raises `UsageError` when the two differ."""
    password = diagnostics.ask_hidden(question)
    if diagnostics.ask_hidden("The same again: ") != password:
        raise UsageError("the two passwords differ, nothing was changed", "try again")
    return password


def command(
    app: typer.Typer, name: str, *shared: SharedOptions, examples: Sequence[str] = ()
) -> Callable[[CommandFunction], CommandFunction]:
    """Make a function a command of `app`, with groups of shared options behind its own.

    The function takes a `Invocation` first; the shared options end up in it. Its docstring and the
    examples are the command's help.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        group = app.info.name if isinstance(app.info.name, str) else ""
        add_command(app, f"{group} {name}".strip(), function, own, shared, docstring_of(function), examples)
        return function

    return decorate


def docstring_of(function: CommandFunction) -> str:
    """A function's docstring, from its source where Python was told to leave docstrings out (PYTHONOPTIMIZE=2)."""
    if function.__doc__ is not None:
        return function.__doc__
    import ast
    import textwrap

    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, SyntaxError):
        return ""
    return (ast.get_docstring(definition) if isinstance(definition, ast.FunctionDef) else None) or ""


def add_command(
    app: typer.Typer,
    path: str,
    function: CommandFunction,
    own: Sequence[inspect.Parameter],
    shared: Sequence[SharedOptions],
    help_text: str,
    examples: Sequence[str],
) -> None:
    """Add `function` to `app` as the command whose full name is `path` (`db verify`).

    Its options are `own`, then those of `shared`.
    """
    run_options = {key: option for group in shared for key, option in group.items()}
    parameters = [
        *own,
        *(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for key, (annotation, default) in run_options.items()
        ),
    ]

    def invoke(**values: Any) -> None:
        diagnostics.Verbosity.quiet = values.pop("quiet", False)
        diagnostics.Verbosity.verbose = values.pop("verbose", False)
        run = Invocation(path, **{key: values.pop(key) for key in run_options if key in values})
        function(run, **values)

    # Typer reads a command's options from its signature and annotations.
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # a function takes attributes
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    paragraphs = [" ".join(paragraph.split()) for paragraph in help_text.split("\n\n")]
    epilog = "Examples:\n\n" + "\n\n".join(f"  {example}" for example in examples)
    name = path.rsplit(maxsplit=1)[-1]
    app.command(name, cls=Command, help="\n\n".join(paragraphs), epilog=epilog if examples else None)(invoke)
