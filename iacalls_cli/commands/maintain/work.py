"""What vacuum, analyze and reindex share: their sessions, their results as they come, what was not done."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, TypeVar

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.connection import Limits, require_primary
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.tables import TableState

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection, Session

NAMED = 3
Done = TypeVar("Done")


@contextmanager
def open_planner(run: Invocation) -> "Iterator[Session]":
    """The session that plans and watches, on a server that takes writes."""
    with run.session(read_only=False, limits=Limits("0", run.limits().lock_timeout)) as session:
        require_primary(session)
        yield session


@contextmanager
def open_workers(run: Invocation, count: int) -> "Iterator[list[Connection]]":
    """The sessions that work."""
    limits = Limits("0", run.limits().lock_timeout)
    with ExitStack() as stack:
        yield [
            stack.enter_context(run.session(read_only=False, limits=limits, is_named=False)).connection
            for _ in range(count)
        ]


def not_done(state: str, names: Sequence[str]) -> bool:
    """Whether that is a failure: what was asked for by name was to be done."""
    return state == "failed" or (state == "skipped" and bool(names))


def require_done(problems: Sequence[tuple[str, str]], count: int, done: str, advice: str = "try again later") -> None:
    """Raise `IacallsError` naming what was not done, and why; `advice` is its hint."""
    if not problems:
        return
    named = "; ".join(f"{name}: {problem}" for name, problem in problems[:NAMED])
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    others = f"the others are done; {advice}" if len(problems) < count else advice
    raise IacallsError(f"{len(problems)} of {count} could not be {done}: {named}{more}", others)


def collect(working: Generator[Done, None, None], count: int) -> list[Done]:
    """All results; at an interrupt, how many of `count` there are by then is said, and the work ended in order."""
    results: list[Done] = []
    try:
        with closing(working):
            for result in working:
                results.append(result)  # noqa: PERF402, they are counted at an interrupt
    except KeyboardInterrupt:
        diagnostics.note(f"{len(results)} of {count} were done, and stay so")
        raise
    return results


def show_not_permitted(session: "Session", not_permitted: Sequence[TableState], action: str) -> None:
    """Name what this role may not."""
    if not_permitted:
        diagnostics.warning(
            f"the role {session.connection.info.user} may not {action} {name_some(not_permitted)}; skipped"
        )


def name_some(tables: Sequence[TableState]) -> str:
    """A few names, and how many more there are."""
    names = [str(table) for table in tables[:NAMED]]
    return ", ".join(names) + (f" and {len(tables) - NAMED} more" if len(tables) > NAMED else "")
