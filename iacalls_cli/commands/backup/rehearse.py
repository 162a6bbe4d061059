"""`iacalls backup rehearse`: a restore test on a scratch server."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.jobs import usable_cores
from iacalls_cli.commands.backup.restored import (
    read_search_path,
    show_notes,
    warn_of_privileges,
)
from iacalls_cli.commands.backup.sessions import open_named, open_one, open_server
from iacalls_cli.commands.backup.store import open_store, source_of
from iacalls_cli.commands.hooks import with_hooks
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.file import load_config
from iacalls_cli.config.target import EMBEDDED, Target, from_dsn
from iacalls_cli.database.programs import connect_client
from iacalls_cli.errors import ProblemsFound, UsageError
from iacalls_cli.operations.backup.dump_file import check_dump_file, find_dump_file, is_readable, unpacked
from iacalls_cli.operations.backup.manifest import Manifest
from iacalls_cli.operations.backup.new_database import RestorePlan, Server
from iacalls_cli.operations.backup.rehearse import rehearse
from iacalls_cli.operations.backup.restricted_role import restricted_role
from iacalls_cli.table import Column, Table
from iacalls_cli.units import read_duration

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session
    from iacalls_cli.database.programs import Client


def rehearse_backup(run: Invocation, directory: Path | None, name: str, jobs: int | None, search_path: str) -> None:
    """Test a backup on a scratch server: the embedded one unless --dsn or --profile names another."""
    store = open_store(directory)
    with with_hooks(run, load_config().backup, is_dry=False) as report:
        dump = find_dump_file(store, name, partial(source_of, run), is_readable)
        if dump.backup is None or dump.manifest is None:
            raise UsageError(f"{name} is not a backup of iacalls", "`iacalls backup list` shows those")
        if dump.backup.foreign:
            raise UsageError(
                f"a restore test of {dump.name} could not be recorded: {dump.backup.foreign}",
                "run this as the user whom it belongs to",
            )
        if dump.manifest.contents == "data":
            raise UsageError(f"{dump.name} holds rows without their tables", "rehearse a full backup")
        show_notes(check_dump_file(dump))
        has_target = run.dsn is not None or run.profile is not None
        target = run.target() if has_target else from_dsn(EMBEDDED, "default for rehearsals")
        with open_server(run, dump, target) as (session, server):
            report.target, report.file = str(session.place), str(dump.backup.folder)
            contents = "schema" if dump.manifest.contents == "schema" else "full"
            where = f"PostgreSQL {session.connection.info.parameter_status('server_version')}"
            with (
                limited(run, session, server, target, dump.manifest) as scratch,
                diagnostics.progress() as progress,
                unpacked(dump, store) as archive,
            ):
                plan = RestorePlan(dump, archive, contents, jobs or usable_cores(), read_search_path(search_path))
                backup, outcomes, restored = rehearse(scratch, dump.backup, plan, where, progress)
        show_notes(restored.notes)
        rows = [(check, "problem" if finding else "ok", finding or None) for check, finding in outcomes]
        run.write(Table((Column("check"), Column("state"), Column("finding", "prose")), rows))
        if backup.state != "proven":
            raise ProblemsFound(f"{backup.id} did not come back as it was", "make a new one; do not rely on this one")
        diagnostics.note(f"{backup.id} is proven on {where}")


@contextmanager
def limited(
    run: Invocation, session: "Session", server: Server, target: Target, manifest: Manifest
) -> Iterator[Server]:
    """The server as a restore test may use it: on the embedded one as a role without any privilege.

    On another server it is the role that was named, and a superuser is warned.
    """
    if not session.place.is_embedded:
        warn_of_privileges(session)
        yield server if server.is_test else replace(server, is_test=True)
        return
    limit = read_duration("backup.rehearse_timeout", load_config().backup.rehearse_timeout)
    data_bytes = sum(table.bytes for table in manifest.tables)
    with restricted_role(server.maintenance, data_bytes, limit.total_seconds()) as role:
        own = Target(target.source, keywords={"user": role.name, "password": role.password}, is_embedded=True)

        def open_client(name: str) -> "Client":
            with open_named(run, own, name) as opened:
                return connect_client(opened, own, run.command, major=manifest.client_major)

        yield Server(
            server.maintenance,
            partial(open_one, run, own),
            open_client,
            owner=role.name,
            is_test=True,
            open_as_administrator=server.open_database,
        )
