"""`iacalls maintain undo`: the list of cleanups, the check of the archive, the return of the rows."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintain.archive_directory import open_archives, sizes
from iacalls_cli.database.connection import require_primary
from iacalls_cli.errors import IacallsError, UsageError
from iacalls_cli.operations.maintain.archive.recovery import recover_archive, verify_archive
from iacalls_cli.operations.maintain.archive.store import Archive, mark_undone
from iacalls_cli.operations.maintain.cleanup.run import ServerFacts, only_cleanup, read_server_facts
from iacalls_cli.operations.maintain.cleanup.safeguards import warn_of_undo
from iacalls_cli.operations.maintain.relations import Schema, read_schema
from iacalls_cli.operations.maintain.undo.run import Conflict, Returned, Undo, UndoResult
from iacalls_cli.table import Column, Result, Table, table_of
from iacalls_cli.text import count_of, pretty_size

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection

SHOWN_CONFLICTS = 20


def list_runs(run: Invocation, directory: Path | None) -> None:
    """List the cleanups whose archives are kept."""
    archives = open_archives(directory)
    found = archives.all()
    columns = (
        Column("run", "prose"),
        Column("state"),
        Column("deleted", "number"),
        Column("nulled", "number"),
        Column("size", "bytes"),
        Column("started", "time", is_wide=True),
        Column("ended", "time", is_wide=True),
        Column("problem", "prose", hides_empty=True),
    )
    rows = [
        (
            archive.id,
            archive.state,
            archive.manifest.deleted if archive.manifest else None,
            archive.manifest.changed if archive.manifest else None,
            archive.bytes,
            archive.manifest.started_at if archive.manifest else None,
            (archive.manifest.ended_at or None) if archive.manifest else None,
            archive.problem or None,
        )
        for archive in found
    ]
    run.write(Table(columns, rows))
    diagnostics.note(
        f"{count_of(len(found), 'archive takes', 'archives take')} {pretty_size(sizes(found))} in {archives.directory}"
    )


def undo_run(run: Invocation, run_id: str, directory: Path | None) -> None:
    """Put back what one cleanup deleted."""
    archives = open_archives(directory)
    with run.session(read_only=False, fixed_money=True) as session:
        require_primary(session)
        clock = read_server_facts(session.connection)
        archive = archives.find(run_id, clock.database, clock.system_identifier, clock.now)
        with diagnostics.waiting(f"reading {archive.id}"):
            verify_archive(archive)
        is_ours = require_same(archive, clock, session.place.database, run_id)
        schema = read_schema(session.connection)
        for warning in warnings_of(session.connection, archive, schema):
            diagnostics.warning(warning)
        if not run.dry_run:
            assert archive.manifest is not None  # noqa: S101, verified
            diagnostics.note(
                f"plan: put back {count_of(archive.manifest.deleted, 'row')} and "
                f"{count_of(archive.manifest.changed, 'reference')} of the cleanup of {archive.manifest.started_at}"
            )
            run.confirm_action("Put them back?")
        alone = nullcontext() if run.dry_run else only_cleanup(session.connection)
        with alone, diagnostics.progress() as progress:
            if is_ours and not run.dry_run:
                archive = recover_archive(session.connection, archive)
            undo = Undo(session.connection, archive, schema, progress, run.dry_run)
            try:
                undo.run()
            except (IacallsError, KeyboardInterrupt):
                if undo.back and not run.dry_run:
                    diagnostics.note(f"{count_of(undo.back, 'row')} back; the same undo goes on with the others")
                raise
    run.write(undo_result(undo.result))
    if not run.dry_run:
        conclude(archive, undo.result)


def warnings_of(connection: "Connection", archive: Archive, schema: Schema) -> Iterator[str]:
    """The code of others that the undo would run with a superuser's privileges."""
    assert archive.manifest is not None  # noqa: S101, verified
    tables = {(file.schema, file.table) for file in archive.manifest.files}
    relations = [one for one in schema.relations.values() if (one.schema, one.name) in tables]
    return warn_of_undo(connection, relations)


def conclude(archive: Archive, result: UndoResult) -> None:
    """Note that an archive is undone; raises `IacallsError` where rows are left."""
    if left := sum(file.conflicts for file in result.files):
        raise IacallsError(
            f"not put back: {count_of(left, 'row')}; put back: {result.restored:,}",
            "the conflicts are listed above; solve them and undo again, what is back stays as it is",
        )
    try:
        mark_undone(archive, result.restored)
    except OSError as error:
        diagnostics.warning(f"everything is back, and {archive.folder} cannot be marked as undone: {error.strerror}")
    except IacallsError as error:
        diagnostics.warning(f"everything is back, and the archive cannot be marked as undone: {error.message}")


def require_same(archive: Archive, clock: ServerFacts, database: str, asked: str) -> bool:
    """Whether an archive is of the target's server; raises `UsageError` where it is of another database.

    That of another server, perhaps the same one before it was set up anew, has to be named in full.
    """
    assert archive.manifest is not None  # noqa: S101, verified
    known = archive.manifest.database
    if known["name"] != clock.database:
        raise UsageError(
            f"{archive.id} is of the database {known['name']}, and the target is {database}",
            "name the right target; nothing was changed",
        )
    if known["system_identifier"] == clock.system_identifier:
        return True
    if asked != archive.id:
        raise UsageError(f"{archive.id} is of a database on another server", f"name it in full: {archive.id}")
    diagnostics.warning(f"{archive.id} is of a database on another server")
    return False


def undo_result(result: UndoResult) -> Result:
    """Return what became of the rows, file by file, and the conflicts."""
    conflicts = table_of(Conflict, result.conflicts, "Conflicts")
    conflicts = replace(conflicts, rows_for_people=list(conflicts.rows)[:SHOWN_CONFLICTS])
    return Result(table_of(Returned, result.files), {"conflicts": conflicts})
