"""Restoring a dump into a new database: never over an existing one, whole or not at all."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from iacalls_cli.database.connection import Connection, Limits, apply_settings
from iacalls_cli.database.programs import Client
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import UNDEFINED
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.compatibility import (
    TIMEOUT_MAJOR,
    Compatibility,
    read_compatibility,
    rows_label,
)
from iacalls_cli.operations.backup.contents import (
    OWNED,
    Entry,
    archive_script,
    chosen,
    entries_as_text,
    plan_phases,
    read_contents,
)
from iacalls_cli.operations.backup.dump import Progress, wait_a_moment
from iacalls_cli.operations.backup.dump_file import Dump
from iacalls_cli.operations.backup.dump_filter import DumpFilter
from iacalls_cli.operations.backup.manifest import TableRows
from iacalls_cli.operations.backup.new_database import (
    RestorePlan,
    Server,
    create_empty,
    create_extensions,
    discard,
    foreign_encoding,
)
from iacalls_cli.operations.backup.run_script import require_idle, run_script
from iacalls_cli.operations.backup.script import StatementFilter
from iacalls_cli.operations.backup.snapshot import copied_rows, count_table, read_source
from iacalls_cli.operations.backup.statement import Statement
from iacalls_cli.operations.compression import read_chunks
from iacalls_cli.operations.db.sequences import find_behind
from iacalls_cli.operations.db.temporary import LOST, TemporaryKind, drop_database, lock_creation
from iacalls_cli.queries import load_query

DEFAULT_PATH = b"SET search_path = public, pg_temp"
LIMITS = Limits("0", "10s")
# A server that ended our sessions may be starting again.
RESTART_TRIES, RESTART_PAUSE = 10, 0.5
# What fills tables and sets sequences.
FILLING = ("COPY", "INSERT", "SELECT", "REFRESH")


@dataclass
class Restored:
    """A restored database, and what is to be said of it. `tables` are its rows as counted there.

    `left_out` are the objects that this server or role cannot have; `stand_ins` the extensions
    that functions of ours stand in for.
    """

    name: str
    tables: tuple[TableRows, ...] = ()
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    left_out: frozenset[str] = frozenset()
    stand_ins: frozenset[str] = frozenset()


@contextmanager
def restored_database(
    server: Server, name: str, making: TemporaryKind, plan: RestorePlan, like: str, progress: Progress
) -> Iterator[Restored]:
    """A new database under an unfinished name, with everything restored and compared.

    Inside the block it may be renamed; what still has its unfinished name after it is dropped.
    `like` is a database whose encoding, order and tablespace it gets, or ''. Raises `IacallsError`
    with the words of the server or the restore programs; nothing is left, or it is named.
    """
    home = server.maintenance.info.dbname
    leftovers = lock_creation(server.maintenance, name, making)
    unfinished = making.new_name(name)
    restored = Restored(unfinished)
    for leftover in leftovers:
        if reason := discard(server, leftover):
            restored.notes.append(f"the database {leftover}, left by an earlier run, could not be dropped: {reason}")
    try:
        encoding = foreign_encoding(server, unfinished, plan)
        notes = create_empty(server.maintenance, unfinished, plan.dump, like, server.owner, encoding)
        beforehand = create_extensions(server, unfinished, plan)
        with server.open_database(unfinished) as connection:
            fill(connection, server, plan, restored, beforehand, progress)
        restored.notes[:0] = notes
        yield restored
    finally:
        reason = discard(server, unfinished)
        if reason and server.maintenance.closed:
            reason = discard_anew(server, unfinished, home)
        if reason:
            note_leftover(
                restored,
                f"the database {unfinished} could not be dropped: {reason}; "
                f"the next `iacalls {making.command}` of {name} drops it",
            )


def note_leftover(restored: Restored, words: str) -> None:
    """Say what stays: in the error that is being raised, or among the notes."""
    error = sys.exception()
    restored.notes.append(words)
    if isinstance(error, IacallsError):
        error.message = f"{error.message}; {words}"


def discard_anew(server: Server, name: str, home: str) -> str:
    """Drop an unfinished database in a new session in the database `home`, after the server ended the first one.

    A server that restarts is waited for, but not for long. Returns why it could not be dropped, '' where it is gone.
    """
    reason = LOST
    for _ in range(RESTART_TRIES):
        try:
            with server.open_database(home) as maintenance:
                return drop_database(maintenance, name, force=True)
        except IacallsError as error:
            reason = error.message
        time.sleep(RESTART_PAUSE)
    return reason


def fill(
    connection: Connection,
    server: Server,
    plan: RestorePlan,
    restored: Restored,
    beforehand: frozenset[str],
    progress: Progress,
) -> None:
    """Restore into an empty database, then count and compare it."""
    dump = plan.dump
    compatibility = read_compatibility(connection, is_test=server.is_test, search_path=plan.search_path)
    compatibility.made_beforehand = beforehand
    dump_filter = DumpFilter(compatibility)
    try:
        if not dump.is_archive:
            # As psql has it: a dump by hand may set none. Nobody else's objects are in the new database.
            dump_filter.kept.path = DEFAULT_PATH
            connection.execute(DEFAULT_PATH)
            apply = dump_filter.apply if plan.contents == "full" else structure_only(dump_filter.apply)
            run(dump_filter, read_chunks(plan.archive), apply)
        else:
            client = server.open_client(connection.info.dbname)
            if plan.contents == "schema":
                run(dump_filter, archive_script(client, plan.archive, "--schema-only"))
            else:
                restore_archive(client, plan, dump_filter, progress)
        reset_session(connection)
    except IacallsError as error:
        explain(error, compatibility, plan)
        raise
    restored.notes += behind_notes(connection)
    restored.notes += analyze(connection)
    source = read_source(connection)
    restored.tables = tuple(count_table(connection, relation) for relation in source.tables)
    # Only now: a policy may hide rows even from their owner.
    dump_filter.kept.finish()
    restored.notes += compatibility.notes()
    restored.left_out = frozenset(compatibility.left_out)
    restored.stand_ins = frozenset(compatibility.stand_ins)
    if plan.contents == "full":
        restored.differences = compare_rows(dump, restored)


def reset_session(connection: Connection) -> None:
    """Undo what a dump's own SET statements left in the session."""
    connection.execute("SET client_encoding = 'UTF8'; SET row_security = on")
    apply_settings(connection, read_only=False, limits=LIMITS)


def run(dump_filter: DumpFilter, chunks: Iterable[bytes], apply: StatementFilter | None = None) -> None:
    """Run SQL of the dump through the filter; no transaction of it may stay open."""
    run_script(
        dump_filter.server.connection,
        chunks,
        apply or dump_filter.apply,
        dump_filter.server.pardons,
        dump_filter.execute,
        dump_filter.check_command,
    )
    require_idle(dump_filter.server.connection)


def explain(error: IacallsError, compatibility: Compatibility, plan: RestorePlan) -> None:
    """Say with an error what this server lacks, and the way where functions find their names by search_path."""
    if "unsupported XML feature" in error.message:
        error.hint = "this server was built without XML (so is the embedded one); restore on one that has it"
    elif compatibility.lacking_extensions:
        error.message = f"{error.message}; {compatibility.missing_words()}"
        error.hint = "install it on this server, or restore on one that has it"
        if compatibility.left_out and is_undefined(error):
            error.message = f"{error.message}; left out before: {', '.join(compatibility.left_out)}"
    elif compatibility.left_out and is_undefined(error):
        error.message = f"{error.message}; left out before: {', '.join(compatibility.left_out)}"
    elif not plan.search_path and is_undefined(error):
        error.hint = (
            "does a function of the dump find its names by search_path? pg_dump restores with an empty one; "
            "--search-path public,… restores with that path, and ALTER FUNCTION … SET search_path mends the original"
        )


def is_undefined(error: IacallsError) -> bool:
    """Whether an error says that a name was not found."""
    return error.sqlstate in UNDEFINED or (not error.sqlstate and "does not exist" in error.message)


def behind_notes(connection: Connection) -> list[str]:
    """Say which sequences are behind their columns; they are left where the dump says."""
    listed = ", ".join(map(str, find_behind(connection)))
    return [f"sequences are where the dump says they were, behind their columns: {listed}"] if listed else []


def analyze(connection: Connection) -> list[str]:
    """Have the planner's statistics made; returns why that failed, which costs no row."""
    try:
        connection.execute("ANALYZE")
    except DatabaseError as error:
        if error.sqlstate not in UNDEFINED:
            raise
        return [f"ANALYZE failed, run it in the restored database: {error.message}"]
    return []


def structure_only(apply: StatementFilter) -> StatementFilter:
    """A filter that leaves out what fills tables and sets sequences."""

    def without_rows(text: bytes) -> bytes | None:
        wanted = apply(text)
        is_filling = Statement(text).command in FILLING and b"set_config" not in text
        return None if is_filling or b"LARGE OBJECT" in text[:40] else wanted

    return without_rows


def restore_archive(client: Client, plan: RestorePlan, dump_filter: DumpFilter, progress: Progress) -> None:
    """The definitions statement by statement; rows, indexes and constraints by as many jobs as wanted."""
    archive, sections, compatibility = plan.archive, ("data", "post-data"), dump_filter.server
    run(dump_filter, archive_script(client, archive, "--section=pre-data"))
    if plan.search_path or client.programs.major >= TIMEOUT_MAJOR > compatibility.major:
        # pg_restore sets its own search_path, and from 17 on a time-out that older servers do not know.
        run(dump_filter, archive_script(client, archive, *(f"--section={section}" for section in sections)))
        return
    entries = without_lacking(read_contents(client, archive, *sections), compatibility, client, archive)
    owned = [entry for entry in entries if entry.kind in OWNED]
    run_script(compatibility.connection, entries_as_text(client, archive, owned), keep_only(dump_filter))
    for phase in plan_phases(entries, indexes_as_text=compatibility.has_left_out):
        if phase.by_program:
            run_program(client, plan, phase.entries, compatibility, progress)
        else:
            run(dump_filter, entries_as_text(client, archive, phase.entries))


def keep_only(dump_filter: DumpFilter) -> StatementFilter:
    """A filter that runs nothing, and keeps owners and privileges for the end."""

    def keep(text: bytes) -> None:
        dump_filter.keep(text)

    return keep


def without_lacking(entries: list[Entry], compatibility: Compatibility, client: Client, archive: Path) -> list[Entry]:
    """Return the entries without the rows of extensions that this server lacks: their tables are not there."""
    if not compatibility.missing_extensions:
        return entries
    own = {entry.name for entry in read_contents(client, archive, "pre-data") if entry.kind == "TABLE"}
    kept = []
    for entry in entries:
        is_foreign = entry.kind == "TABLE DATA" and entry.name not in own
        if is_foreign and not is_relation(compatibility.connection, entry.name):
            compatibility.leave_out_rows(*entry.name.split(" ")[:-1])
        elif entry.kind == "SEQUENCE SET" and not is_relation(compatibility.connection, entry.name):
            continue
        else:
            kept.append(entry)
    return kept


def is_relation(connection: Connection, listed: str) -> bool:
    """Whether a relation exists that pg_restore lists as `schema name owner`."""
    return bool(fetch(connection, load_query("backup/listed-relation"), {"listed": listed})[0]["is_there"])


def run_program(
    client: Client, plan: RestorePlan, entries: tuple[Entry, ...], compatibility: Compatibility, progress: Progress
) -> None:
    """Have pg_restore restore some entries, and show how far it is."""
    options = ["--exit-on-error", "--no-owner", "--no-privileges", "--no-password"]
    if compatibility.lacking_tablespaces:
        options.append("--no-tablespaces")
    if plan.dump.format != "tar":
        options.append(f"--jobs={plan.jobs}")
    manifest = plan.dump.manifest
    rows = {(table.schema, table.name): table for table in manifest.tables} if manifest else {}
    with chosen(entries) as choice:
        command = ("pg_restore", choice, *options, f"--dbname={client.conninfo}", str(plan.archive))
        with client.start(*command) as running:
            while running.process.poll() is None:
                for key, done in copied_rows(compatibility.connection, client.application).items():
                    if table := rows.get(key):
                        progress(str(table), min(done, table.rows), table.rows)
                wait_a_moment(running)
            running.check()


def compare_rows(dump: Dump, restored: Restored) -> list[str]:
    """Where the restored rows are not as many as the manifest says; those of missing extensions are left out."""
    if dump.manifest is None:
        return []
    found = {(table.schema, table.name): table.rows for table in restored.tables}
    return [
        f"{table} has {found.get((table.schema, table.name), 0):,} rows, and had {table.rows:,}"
        for table in dump.manifest.tables
        if found.get((table.schema, table.name)) != table.rows
        and rows_label(table.schema, table.name) not in restored.left_out
    ]


def require_same(restored: Restored) -> None:
    """Raise `IacallsError` where rows are missing or too many."""
    if restored.differences:
        raise IacallsError(f"the restored rows are not those of the backup: {'; '.join(restored.differences)}")
