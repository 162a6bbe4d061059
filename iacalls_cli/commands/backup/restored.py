"""What restore, replace and rehearse share: what is looked at before, and what is said after."""

import re
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.db.init import NO_PLACE
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.failures import NAME_BYTES
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.loss import TableLoss
from iacalls_cli.operations.backup.new_database import Server
from iacalls_cli.operations.backup.restore import Restored
from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.table import Column, Result, Table, table_of

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session

# The role that does instead of a superuser.
SUFFICIENT = {
    "the dump": "a role that may only create databases will do (CREATE ROLE restorer LOGIN CREATEDB)",
    "the tables": "their owner will do",
}
SCHEMA = re.compile(r'[\w$]+|"[^"\x00]+"')


def warn_of_privileges(session: "Session", place: str = "the dump") -> None:
    """Say with whose privileges the code in a dump, or of the tables that are filled, will run."""
    role = session.connection.info.user
    if session.connection.info.parameter_status("is_superuser") == "on":
        diagnostics.warning(
            f"{role} is a superuser: functions, defaults, indexes and constraints of {place} run with its privileges, "
            f"whoever wrote them; {SUFFICIENT[place]}"
        )
    else:
        diagnostics.note(f"functions, defaults, indexes and constraints of {place} run with the privileges of {role}")


def read_search_path(text: str) -> str:
    """Return a search_path as SET takes it; raises `UsageError` for what is no list of schemas."""
    names = [name.strip() for name in text.split(",")] if text else []
    if any(not SCHEMA.fullmatch(name) for name in names):
        raise UsageError(
            f"--search-path cannot be {text!r}", 'write schemas with commas between, like public,"My Schema"'
        )
    return ", ".join([*names, "pg_temp"]) if names else ""


def require_new_name(name: str) -> None:
    """Raise `UsageError` for a name no database of ours can have."""
    if name in NO_PLACE or not name:
        raise UsageError(f"{name or 'an empty name'} is PostgreSQL's own", "name another database")
    if len(name.encode()) > NAME_BYTES:
        raise UsageError(f"the database's name is longer than {NAME_BYTES} bytes", "choose a shorter one")


def show_notes(notes: list[str]) -> None:
    """Say what is otherwise than where the dump was made."""
    for note in notes:
        diagnostics.note(note)


def show_verdict(server: Server, name: str) -> None:
    """Say whether a restored database has the documented schema; another one's rightfully has not."""
    with server.open_database(name) as connection:
        verification = verify_database(connection, estimate=True)
    if verification.is_empty:
        return
    if verification.problems:
        diagnostics.note(
            f"{name} has {verification.problems} differences from the documented schema; see `iacalls db verify`"
        )
    else:
        diagnostics.note(f"{name} has the documented schema")


def write_restored(run: Invocation, name: str, restored: Restored, losses: list[TableLoss] | None = None) -> None:
    """The answer: the tables with their rows, and what was lost of the live ones."""
    tables = Table((Column("table"), Column("rows", "number")), [(str(table), table.rows) for table in restored.tables])
    more = {"lost": table_of(TableLoss, losses, "What the replaced database had")} if losses is not None else {}
    diagnostics.note(
        f"{name} is restored: {sum(table.rows for table in restored.tables):,} rows in {len(restored.tables)} tables"
    )
    run.write(Result(tables, {"database": name, **more}))
