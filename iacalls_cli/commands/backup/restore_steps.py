"""The steps of `iacalls backup restore`, `undo` and `rehearse`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.create_steps import told, usable_cores
from iacalls_cli.commands.backup.store import open_store, settings
from iacalls_cli.commands.init import MAINTENANCE, NO_PLACE
from iacalls_cli.commands.run import Run
from iacalls_cli.config.target import EMBEDDED, from_dsn
from iacalls_cli.database.connection import Limits, require_primary
from iacalls_cli.database.parameters import connection_parameters, resolve
from iacalls_cli.database.programs import connect_client
from iacalls_cli.errors import IacallsError, ProblemsFound, UsageError
from iacalls_cli.operations.backup.loss import TableLoss, compare_databases
from iacalls_cli.operations.backup.material import Material, check_material, find_material, unpacked
from iacalls_cli.operations.backup.rehearse import rehearse
from iacalls_cli.operations.backup.restore import Restored, RestorePlan, Server, require_same, restored_database
from iacalls_cli.operations.backup.swap import (
    BEFORE,
    UNDONE,
    copy_settings,
    dated_name,
    kept_databases,
    require_swappable,
    swap,
)
from iacalls_cli.operations.backup.tables import BroughtBack, restore_beside, restore_rows
from iacalls_cli.operations.db.init import database_exists
from iacalls_cli.operations.db.unfinished import NAME_BYTES, RESTORE, rename_database
from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.table import Answer, Column, Table, table_of

if TYPE_CHECKING:
    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Connection, Session
    from iacalls_cli.database.programs import Client
    from iacalls_cli.operations.backup.store import Store

PATIENT = Limits("0", "10s")


def restore_into(run: Run, material: Material, store: "Store", name: str, contents: str, jobs: int) -> None:
    """Restore into a new database."""
    require_new_name(name)
    with open_server(run, material) as (session, server):
        if database_exists(session.connection, name):
            raise UsageError(f"there is a database {name} already", "name a new one; --replace replaces the target's")
        diagnostics.note(f"plan: make the database {name} from {material}")
        notes = check_material(material)
        if run.dry_run:
            return
        with diagnostics.progress() as progress, unpacked(material, store) as archive:
            plan = RestorePlan(material, archive, contents, jobs)
            with restored_database(server, name, RESTORE, plan, "", progress) as restored:
                require_same(restored)
                rename_database(session.connection, restored.name, name)
        tell_notes(notes + restored.notes)
        tell_verdict(server, name)
    write_restored(run, name, restored)


def replace_database(run: Run, material: Material, store: "Store", jobs: int) -> None:
    """Restore beside the target's database, show what will be lost, and put the one in the other's place."""
    with open_server(run, material) as (session, server), second_session(run) as ender:
        live = session.place.database
        require_new_name(live)
        if not run.dry_run and (not sys.stdin.isatty() or run.confirm is not None):
            # Not only when everything is restored: then it would be asked for in vain.
            agree_to_swap(run, session, live)
        require_swappable(session.connection, live)
        diagnostics.note(
            f"plan: restore {material} beside {live}, compare it, end the sessions in {live}, and put it in its "
            f"place; the old one stays as {live}{BEFORE}… and `iacalls backup undo` brings it back"
        )
        notes = check_material(material)
        if run.dry_run:
            return
        with diagnostics.progress() as progress, unpacked(material, store) as archive:
            plan = RestorePlan(material, archive, "full", jobs)
            with restored_database(server, live, RESTORE, plan, live, progress) as restored:
                require_same(restored)
                notes += copy_settings(session.connection, live, restored.name)
                tell_notes(notes + restored.notes)
                losses = compare_live(server, live, restored.name)
                tell_loss(losses, live)
                agree_to_swap(run, session, live)
                kept = dated_name(live, BEFORE)
                swap(session.connection, ender, live, restored.name, kept)
        diagnostics.note(f"{live} is replaced; what it was is kept as {kept}; `iacalls backup undo` brings that back")
        tell_verdict(server, live)
    write_restored(run, live, restored, losses)


def agree_to_swap(run: Run, session: "Session", live: str) -> None:
    """Have the name of the database given that is to be replaced."""
    question = f"{live} is replaced and its sessions are ended."
    run.agree_by_name(question, live, is_embedded=session.place.is_embedded)


def undo_replace(run: Run) -> None:
    """Put the database that was replaced last in its place again."""
    with open_server(run, None) as (session, server), second_session(run) as ender:
        live = session.place.database
        kept = kept_databases(session.connection, live)
        if not kept:
            raise IacallsError(f"there is no database {live}{BEFORE}… that {live} replaced", "nothing was changed")
        require_swappable(session.connection, live)
        require_swappable(session.connection, kept[0].name)
        away = dated_name(live, UNDONE)
        diagnostics.note(f"plan: put {kept[0].name} in the place of {live}, and keep that as {away}")
        losses = compare_live(server, live, kept[0].name)
        tell_loss(losses, live)
        if run.dry_run:
            return
        agree_to_swap(run, session, live)
        swap(session.connection, ender, live, kept[0].name, away)
        diagnostics.note(f"{live} is what it was; what it had become is kept as {away}")
    columns = Column("database"), Column("state"), Column("kept_as")
    run.write(Table(columns, [(live, "brought back", away)]))


def restore_tables(run: Run, material: Material, store: "Store", tables: tuple[str, ...], *, data_only: bool) -> None:
    """Bring tables back into the target database: beside the live ones, or into empty ones."""
    target = run.target()
    with run.session(target=target, read_only=False, limits=PATIENT) as session:
        require_primary(session)
        side = f"restored_{datetime.now(UTC):%Y%m%dt%H%M%Sz}"
        where = "the empty tables of that name" if data_only else f"the new schema {side}"
        named = ", ".join(tables) or "all tables"
        diagnostics.note(f"plan: bring the rows of {named} from {material} back into {where}")
        tell_notes(check_material(material))
        if run.dry_run:
            return
        run.agree("Go on?")
        client = connect_client(session, target, run.command, major=material.major)
        with diagnostics.waiting("restoring"), unpacked(material, store) as archive:
            if data_only:
                brought, moved = restore_rows(session.connection, client, material, archive, tables)
                for sequence in moved:
                    diagnostics.note(
                        f"the sequence {sequence.name} was moved forward and gives {sequence.next_value} next"
                    )
            else:
                brought = restore_beside(session.connection, client, material, archive, tables, side)
    run.write(table_of(BroughtBack, brought))


def rehearse_backup(run: Run, directory: Path | None, name: str, jobs: int | None) -> None:
    """Prove a backup on a scratch server: the embedded one unless --dsn or --profile names another."""
    store = open_store(directory)
    with told(run, settings(), is_dry=False) as report:
        material = find_material(store, name)
        if material.backup is None or material.manifest is None:
            raise UsageError(f"{name} is not a backup of iacalls", "`iacalls backup list` shows those")
        if material.manifest.contents == "data":
            raise UsageError(f"{material.name} holds rows without their tables", "rehearse a full backup")
        check_material(material)
        target = run.target() if run.dsn or run.profile else from_dsn(EMBEDDED, "default for rehearsals")
        with open_server(run, material, target) as (session, server):
            report.target, report.file = str(session.place), str(material.backup.folder)
            contents = "schema" if material.manifest.contents == "schema" else "full"
            with diagnostics.progress() as progress, unpacked(material, store) as archive:
                plan = RestorePlan(material, archive, contents, jobs or usable_cores())
                where = f"PostgreSQL {session.connection.info.parameter_status('server_version')}"
                backup, outcomes, restored = rehearse(server, material.backup, plan, where, progress)
        tell_notes(restored.notes)
        rows = [(check, "problem" if finding else "ok", finding or None) for check, finding in outcomes]
        run.write(Table((Column("check"), Column("state"), Column("finding", "prose")), rows))
        if backup.state != "proven":
            raise ProblemsFound(f"{backup.id} did not come back as it was", "make a new one; do not rely on this one")
        diagnostics.note(f"{backup.id} is proven on {where}")


@contextmanager
def open_server(
    run: Run, material: Material | None, target: "Target | None" = None
) -> "Iterator[tuple[Session, Server]]":
    """A writing session on the maintenance database of the target's server, named as the target."""
    target = target or run.target()
    database = target_database(target)
    elsewhere = run.session(target=target, database=MAINTENANCE, read_only=False, limits=PATIENT, is_named=False)
    with elsewhere as opened:
        session = replace(opened, place=replace(opened.place, database=database))
        run.announce(session)
        require_primary(session)
        major = material.major if material else 0

        def open_client(name: str) -> "Client":
            return connect_client(session, target, run.command, major=major, database=name)

        if material is not None and material.is_archive:
            open_client(database)  # so that programs that do not fit are told before anything is done
        yield session, Server(session.connection, partial(open_one, run, target), open_client)


@contextmanager
def open_one(run: Run, target: "Target", name: str) -> "Iterator[Connection]":
    """A writing session in a database of the server, without the limits of a report."""
    opened = run.session(target=target, database=name, read_only=False, limits=Limits("0", "0"), is_named=False)
    with opened as session:
        yield session.connection


@contextmanager
def second_session(run: Run) -> "Iterator[Connection]":
    """Another session on the maintenance database, to end other sessions from."""
    with run.session(database=MAINTENANCE, read_only=False, limits=PATIENT, is_named=False) as session:
        yield session.connection


def target_database(target: "Target") -> str:
    """The name of the target's database; '' where it names none."""
    values = resolve(connection_parameters(target))
    return values.get("dbname") or values.get("user", "")


def require_new_name(name: str) -> None:
    """Raise `UsageError` for a name no database of ours can have."""
    if name in NO_PLACE or not name:
        raise UsageError(f"{name or 'an empty name'} is PostgreSQL's own", "name another database")
    if len(name.encode()) > NAME_BYTES:
        raise UsageError(f"the database's name is longer than {NAME_BYTES} bytes", "choose a shorter one")


def compare_live(server: Server, live: str, restored: str) -> list[TableLoss]:
    """What the live database has that the other one has not."""
    with (
        diagnostics.waiting("comparing with the live database"),
        server.open_database(live) as first,
        server.open_database(restored) as second,
    ):
        # Never wait for ever behind a lock of the application.
        first.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", [PATIENT.lock_timeout])
        return compare_databases(first, second)


def tell_loss(losses: list[TableLoss], live: str) -> None:
    """Say what will be out of reach, table by table."""
    lost = [loss for loss in losses if loss.is_any]
    if not lost:
        diagnostics.note(f"nothing in {live} is newer")
    for loss in lost:
        if loss.restored is None:
            words = f"the whole table, {loss.rows:,} rows"
        else:
            newer = loss.rows - loss.restored if loss.newer is None else loss.newer
            changed = f" and {loss.changed:,} changed" if loss.changed else ""
            words = f"{newer:,} newer{changed} (now {loss.rows:,} rows, then {loss.restored:,})"
        diagnostics.warning(f"{live} loses of {loss.table}: {words}")


def tell_notes(notes: list[str]) -> None:
    """Say what is otherwise than where the dump was made."""
    for note in notes:
        diagnostics.note(note)


def tell_verdict(server: Server, name: str) -> None:
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


def write_restored(run: Run, name: str, restored: Restored, losses: list[TableLoss] | None = None) -> None:
    """The answer: the tables with their rows, and what was lost of the live ones."""
    tables = Table((Column("table"), Column("rows", "number")), [(str(table), table.rows) for table in restored.tables])
    more = {"lost": table_of(TableLoss, losses, "What the replaced database had")} if losses is not None else {}
    diagnostics.note(
        f"{name} is restored: {sum(table.rows for table in restored.tables):,} rows in {len(restored.tables)} tables"
    )
    run.write(Answer(tables, {"database": name, **more}))


def choose_jobs(jobs: int | None) -> int:
    """As many jobs as the option or the config file says, else as there are cores."""
    return jobs or settings().jobs or usable_cores()
