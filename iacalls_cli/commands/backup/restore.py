"""`iacalls backup restore`: into a new database, in the place of the target's, or tables into the target."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.jobs import usable_cores
from iacalls_cli.commands.backup.replace import replace_database
from iacalls_cli.commands.backup.restored import (
    read_search_path,
    require_new_name,
    show_notes,
    show_verdict,
    warn_of_privileges,
    write_restored,
)
from iacalls_cli.commands.backup.sessions import PATIENT, open_server
from iacalls_cli.commands.backup.store import open_store, source_of
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.connection import require_primary
from iacalls_cli.database.programs import connect_client
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.dump_file import Dump, check_dump_file, find_dump_file, unpacked
from iacalls_cli.operations.backup.new_database import RestorePlan
from iacalls_cli.operations.backup.restore import require_same, restored_database
from iacalls_cli.operations.backup.tables import BroughtBack, free_schema, restore_beside, restore_rows
from iacalls_cli.operations.db.init import database_exists
from iacalls_cli.operations.db.temporary import RESTORE, rename_database
from iacalls_cli.table import table_of

if TYPE_CHECKING:
    from iacalls_cli.operations.backup.store import Store


@dataclass(frozen=True)
class RestoreOptions:
    """What the command line asks for; exactly one of `into`, `replace`, `tables` and `data_only` says where to."""

    into: str | None
    replace: bool
    tables: tuple[str, ...]
    schema_only: bool
    data_only: bool
    jobs: int | None
    search_path: str
    plain: bool

    def check(self) -> None:
        """Raise `UsageError` for options that contradict each other, or say nothing."""
        is_partial = self.data_only or self.tables
        if self.schema_only and self.data_only:
            raise UsageError("--schema-only and --data-only contradict each other", "give one, or none for both")
        if self.replace and (self.into is not None or self.schema_only or is_partial):
            raise UsageError(
                "--replace takes the whole backup and no other way to restore", "leave the other option out"
            )
        if self.into is not None and is_partial:
            raise UsageError(
                "--into makes a whole database", "without --into, --table and --data-only work on the target"
            )
        if not (self.replace or self.into is not None or is_partial):
            raise UsageError("where to?", "give --into NAME, --replace, --table TABLE, or --data-only")
        if self.search_path and is_partial:
            raise UsageError("--search-path goes with --into and --replace", "leave it out")
        if self.schema_only and self.into is None:
            raise UsageError("--schema-only needs a new database", "give --into NAME")


def restore_backup(run: Invocation, name: str, directory: Path | None, options: RestoreOptions) -> None:
    """Restore a backup, or a file that pg_dump wrote, as the options say."""
    options.check()
    store = open_store(directory)
    dump = find_dump_file(store, name, partial(source_of, run), is_plain=options.plain)
    contents = dump.manifest.contents if dump.manifest else "full"
    if contents == "data" and not options.data_only:
        raise UsageError(f"{dump.name} holds rows without their tables", "restore it with --data-only")
    if contents == "schema" and options.into is None:
        raise UsageError(f"{dump.name} holds no rows", "restore it with --into NAME")
    if options.into is not None:
        wanted = "schema" if options.schema_only or contents == "schema" else "full"
        restore_into(run, dump, store, options.into, wanted, options.jobs or usable_cores(), options.search_path)
    elif options.replace:
        replace_database(run, dump, name, store, options.jobs or usable_cores(), options.search_path)
    else:
        restore_tables(run, dump, store, options.tables, data_only=options.data_only)


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
