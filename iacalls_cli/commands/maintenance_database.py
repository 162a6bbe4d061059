"""The database from which a command creates, renames and drops others."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.parameters import libpq_parameters, resolve
from iacalls_cli.errors import ConnectionFailed, DatabaseUnavailable

if TYPE_CHECKING:
    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Limits, Session

# PostgreSQL's own database for that purpose; managed servers may have none of this name.
MAINTENANCE = "postgres"
TEMPLATE = "template1"


@contextmanager
def open_maintenance(
    run: Invocation, target: "Target", *, avoid: Collection[str] = (), limits: "Limits | None" = None
) -> "Iterator[Session]":
    """Open a writing session in postgres, else in the target's own database, else in template1.

    `avoid` names the databases that the command creates, renames or drops: no session may be in
    them. Raises `ConnectionFailed` if no other one can be opened.
    """
    names = [name for name in candidates(target) if name not in avoid]
    refused: list[ConnectionFailed] = []
    with ExitStack() as stack:
        for name in names:
            opened = run.session(target=target, database=name, read_only=False, limits=limits, is_named=False)
            try:
                session = stack.enter_context(opened)
            except DatabaseUnavailable as error:
                refused.append(error)
            else:
                break
        else:
            raise ConnectionFailed(
                f"no database to work from can be opened, of {', '.join(names) or 'none'}"
                + (f": {refused[0].message}" if refused else ""),
                f"give the role access to one of them, or create one: CREATE DATABASE {MAINTENANCE}",
            )
        yield session


def candidates(target: "Target") -> list[str]:
    """Return the databases to try, in order."""
    values = resolve(libpq_parameters(target))
    own = values.get("dbname") or values.get("user", "")
    return list(dict.fromkeys(name for name in (MAINTENANCE, own, TEMPLATE) if name))
