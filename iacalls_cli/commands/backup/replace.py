"""`iacalls backup restore --replace`: restore beside the live database, then swap the two."""

import sys
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.restored import (
    read_search_path,
    require_new_name,
    show_notes,
    show_verdict,
    warn_of_privileges,
    write_restored,
)
from iacalls_cli.commands.backup.sessions import open_server, second_session
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.dump_file import Dump, check_dump_file, unpacked
from iacalls_cli.operations.backup.loss import TableLoss, compare_databases
from iacalls_cli.operations.backup.new_database import RestorePlan, Server
from iacalls_cli.operations.backup.replace import (
    BEFORE,
    copy_settings,
    dated_name,
    require_swappable,
    swap,
)
from iacalls_cli.operations.backup.restore import require_same, restored_database
from iacalls_cli.operations.db.sequences import carry_sequences
from iacalls_cli.operations.db.temporary import RESTORE
from iacalls_cli.queries import load_query

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection, Session
    from iacalls_cli.operations.backup.store import Store


def replace_database(run: Invocation, dump: Dump, name: str, store: "Store", jobs: int, search_path: str) -> None:
    """Restore beside the target's database, show what will be lost, and put the one in the other's place."""
    with open_server(run, dump, renames=True) as (session, server), second_session(run) as ender:
        live = session.place.database
        require_new_name(live)
        if not run.dry_run and (not sys.stdin.isatty() or run.confirm is not None):
            # Not only when everything is restored: then it would be asked for in vain.
            confirm_replacement(run, session, live)
        require_swappable(session.connection, live)
        require_meant(session.connection, dump, name, live)
        diagnostics.note(
            f"plan: restore {dump} beside {live}, compare it, end the sessions in {live}, and put it in its "
            f"place; the old one stays as {live}{BEFORE}… and `iacalls backup undo` brings it back"
        )
        warn_of_privileges(session)
        warn_of_replication(server, live)
        show_notes(check_dump_file(dump))
        if run.dry_run:
            return
        with diagnostics.progress() as progress, unpacked(dump, store) as archive:
            plan = RestorePlan(dump, archive, "full", jobs, read_search_path(search_path))
            with restored_database(server, live, RESTORE, plan, live, progress) as restored:
                require_same(restored)
                show_notes(restored.notes + copy_settings(session.connection, live, restored.name))
                losses = compare_live(server, live, restored.name)
                with server.open_database(live) as first, server.open_database(restored.name) as second:
                    show_notes(carry_sequences(first, second))
                show_loss(losses, live)
                confirm_replacement(run, session, live)
                kept = dated_name(session.connection, live, BEFORE)
                swap(session.connection, ender, live, restored.name, kept)
        diagnostics.note(f"{live} is replaced; what it was is kept as {kept}; `iacalls backup undo` brings that back")
        show_verdict(server, live)
    write_restored(run, live, restored, losses)


def warn_of_replication(server: Server, live: str) -> None:
    """Say which slots and subscriptions stay with the database that is replaced."""
    for row in fetch(server.maintenance, load_query("backup/replication"), {"name": live}):
        is_slot = row["kind"] == "logical slot"
        effect = "its readers get no change of the new one" if is_slot else "its changes go on into the old one"
        diagnostics.warning(f"the {row['kind']} {row['name']} stays with the replaced database: {effect}")


def require_meant(maintenance: "Connection", dump: Dump, name: str, live: str) -> None:
    """Raise `UsageError` for another database's backup in this one's place, unless it was named in full.

    `name` is what was typed. A copy from another server is meant sometimes, and never by accident.
    """
    if dump.manifest is None:
        return
    here = fetch(maintenance, load_query("backup/system-identifier"))[0]["system_identifier"], live
    if dump.manifest.group[:2] == here:
        return
    if name != dump.name and "/" not in name:
        raise UsageError(
            f"{dump} is not a backup of {live} on this server",
            f"if it is meant, name it in full: {dump.name}",
        )
    diagnostics.warning(f"{dump} is not a backup of {live} on this server")


def confirm_replacement(run: Invocation, session: "Session", live: str) -> None:
    """Have the name of the database given that is to be replaced."""
    question = f"{live} is replaced and its sessions are ended."
    run.confirm_by_name(question, live, is_embedded=session.place.is_embedded)


def compare_live(server: Server, live: str, restored: str) -> list[TableLoss]:
    """What the live database has that the other one has not."""
    with (
        diagnostics.waiting("comparing with the live database"),
        server.open_database(live) as first,
        server.open_database(restored) as second,
    ):
        return compare_databases(first, second)


def show_loss(losses: list[TableLoss], live: str) -> None:
    """Say what will be out of reach, table by table."""
    lost = [loss for loss in losses if loss.is_any]
    unknown = [loss.table for loss in losses if not loss.is_any and loss.newer is None and loss.rows != 0]
    if not lost:
        diagnostics.note(f"nothing in {live} is newer, as far as its keys tell")
    if unknown:
        diagnostics.note(f"cannot detect newer rows (no integer primary key, or not readable): {', '.join(unknown)}")
    for loss in lost:
        if loss.restored is None:
            words = f"the whole table, {loss.rows:,} rows"
        else:
            newer = (loss.rows or 0) - loss.restored if loss.newer is None else loss.newer
            changed = f" and {loss.changed:,} changed" if loss.changed else ""
            words = f"{newer:,} newer{changed} (now {loss.rows:,} rows, then {loss.restored:,})"
        diagnostics.warning(f"{live} loses of {loss.table}: {words}")
