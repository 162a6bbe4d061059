"""The steps of `iacalls backup restore`: into a new database, or tables into the target."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.create import usable_cores
from iacalls_cli.commands.backup.sessions import PATIENT, open_server
from iacalls_cli.commands.backup.store import settings
from iacalls_cli.commands.db.init import NO_PLACE
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.connection import require_primary
from iacalls_cli.database.programs import connect_client
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.dump_file import Dump, check_dump_file, unpacked
from iacalls_cli.operations.backup.loss import TableLoss
from iacalls_cli.operations.backup.new_database import RestorePlan, Server
from iacalls_cli.operations.backup.restore import Restored, require_same, restored_database
from iacalls_cli.operations.backup.tables import BroughtBack, free_schema, restore_beside, restore_rows
from iacalls_cli.operations.db.init import database_exists
from iacalls_cli.operations.db.temporary import NAME_BYTES, RESTORE, rename_database
from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.table import Column, Result, Table, table_of

# The role that does instead of a superuser.
SUFFICIENT = {
    "the dump": "a role that may only create databases will do (CREATE ROLE restorer LOGIN CREATEDB)",
    "the tables": "their owner will do",
}
SCHEMA = re.compile(r'[\w$]+|"[^"\x00]+"')

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session
    from iacalls_cli.operations.backup.store import Store


def restore_into(
    run: Invocation, dump: Dump, store: "Store", name: str, contents: str, jobs: int, search_path: str
) -> None:
    """Restore into a new database."""
    require_new_name(name)
    with open_server(run, dump) as (session, server):
        if database_exists(session.connection, name):
            raise UsageError(f"there is a database {name} already", "name a new one; --replace replaces the target's")
        diagnostics.note(f"plan: make the database {name} from {dump}")
        warn_of_privileges(session)
        show_notes(check_dump_file(dump))
        if run.dry_run:
            return
        with diagnostics.progress() as progress, unpacked(dump, store) as archive:
            plan = RestorePlan(dump, archive, contents, jobs, read_search_path(search_path))
            with restored_database(server, name, RESTORE, plan, "", progress) as restored:
                require_same(restored)
                rename_database(session.connection, restored.name, name)
        show_notes(restored.notes)
        show_verdict(server, name)
    write_restored(run, name, restored)


def restore_tables(run: Invocation, dump: Dump, store: "Store", tables: tuple[str, ...], *, data_only: bool) -> None:
    """Bring tables back into the target database: beside the live ones, or into empty ones."""
    target = run.target()
    with run.session(target=target, read_only=False, limits=PATIENT) as session:
        require_primary(session)
        side = free_schema(session.connection, f"restored_{datetime.now(UTC):%Y%m%dt%H%M%Sz}")
        where = "the empty tables of that name" if data_only else f"the new schema {side}"
        named = ", ".join(tables) or "all tables"
        diagnostics.note(f"plan: bring the rows of {named} from {dump} back into {where}")
        warn_of_privileges(session, "the tables")
        show_notes(check_dump_file(dump))
        if run.dry_run:
            return
        run.confirm_action("Go on?")
        client = connect_client(session, target, run.command, major=dump.major)
        with diagnostics.waiting("restoring"), unpacked(dump, store) as archive:
            if data_only:
                brought, notes = restore_rows(session.connection, client, dump, archive, tables)
                show_notes(notes)
            else:
                brought = restore_beside(session.connection, client, dump, archive, tables, side)
    run.write(table_of(BroughtBack, brought))


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


def choose_jobs(jobs: int | None) -> int:
    """As many jobs as the option or the config file says, else as there are cores."""
    return jobs or settings().jobs or usable_cores()
