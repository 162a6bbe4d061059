"""`iacalls backup create`: look first, show the plan, make the backup."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.backup.jobs import usable_cores
from iacalls_cli.commands.backup.prune import prune_store
from iacalls_cli.commands.backup.store import backups_result, open_store
from iacalls_cli.commands.clocks import clock_difference
from iacalls_cli.commands.hooks import Report, with_hooks
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.config.file import load_config
from iacalls_cli.database.connection import Limits
from iacalls_cli.database.parameters import describe, libpq_parameters, resolve
from iacalls_cli.database.programs import connect_client
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.backup.create import CreatePlan, create_backup, require_disk_space
from iacalls_cli.operations.backup.dump import FORMATS, DumpPlan
from iacalls_cli.operations.backup.lock import only_job
from iacalls_cli.operations.backup.path_functions import find_path_functions
from iacalls_cli.operations.backup.prune import Retention
from iacalls_cli.operations.backup.replace import read_clock
from iacalls_cli.operations.backup.snapshot import named_lock_waits, read_source, require_privileges
from iacalls_cli.operations.backup.store import make_id
from iacalls_cli.operations.compression import read_compression
from iacalls_cli.text import pretty_size
from iacalls_cli.units import read_duration

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Session

NAMED_FUNCTIONS = 5


def create_one(
    run: Invocation,
    contents: str,
    format: str,  # noqa: A002, the option's name
    jobs: int | None,
    compress: str,
    directory: Path | None,
    label: str,
    *,
    prune: bool,
) -> None:
    """Make one backup as the options and the config file say."""
    config = load_config().backup
    with with_hooks(run, config, is_dry=run.dry_run) as report:
        if format not in FORMATS:
            raise UsageError(f"--format cannot be {format!r}", f"it is {', '.join(FORMATS)}")
        dump = DumpPlan(
            contents,
            format,
            read_compression(compress),
            jobs or usable_cores(),
            f"{read_duration('backup.lock_wait', config.lock_wait).total_seconds():.0f}s",
        )
        make(run, dump, directory, label, report, prune=prune)


def make(run: Invocation, dump: DumpPlan, directory: Path | None, label: str, report: Report, *, prune: bool) -> None:
    """The job itself."""
    store, target = open_store(directory), run.target()
    report.target = str(describe(target, resolve(libpq_parameters(target))))
    with run.session(target=target, limits=Limits("0", dump.lock_wait)) as session:
        report.target = str(session.place)
        with named_lock_waits(session.connection, dump.lock_wait):
            source = read_source(session.connection)
        require_privileges(source, session.connection.info.user)
        if difference := clock_difference(read_clock(session.connection)):
            diagnostics.warning(f"{difference}; the backup is dated by the server's, and named by this machine's")
        client = connect_client(session, target, run.command)
        plan = CreatePlan(dump, source, label)
        make_id(source.facts["name"], label, datetime.now(UTC))  # raises for a label that cannot be in it
        if not run.dry_run:
            store.remove_leftovers()  # they may take the very room that is looked for
        require_disk_space(plan, store)
        diagnostics.note(
            f"plan: {dump.contents} backup of {len(source.tables)} tables ({pretty_size(source.data_bytes)}) as "
            f"{dump.format}, {dump.compression}, into {store.directory}, with pg_dump of {client.programs}"
        )
        warn_of_path_functions(session)
        if run.dry_run:
            return
        facts = source.facts
        with only_job(run.command, facts["system_identifier"], facts["name"]), diagnostics.progress() as progress:
            backup = create_backup(session.connection, client, store, plan, progress)
    report.file = str(backup.folder)
    diagnostics.note(f"{backup.id} is complete and read back: {backup.folder}")
    run.write(backups_result([backup]))
    if prune:
        config = load_config().backup
        retention = Retention(config.keep_daily, config.keep_weekly, config.keep_monthly, config.min_keep)
        prune_store(run, store, retention, after=backup)


def warn_of_path_functions(session: "Session") -> None:
    """Name the functions that will make a restore fail, while they can still be altered."""
    if found := find_path_functions(session.connection):
        listed = ", ".join(map(str, found[:NAMED_FUNCTIONS]))
        more = f" and {len(found) - NAMED_FUNCTIONS} more" if len(found) > NAMED_FUNCTIONS else ""
        diagnostics.warning(
            f"functions that find names by search_path make a restore fail: {listed}{more}; "
            "ALTER FUNCTION … SET search_path repairs that; `iacalls backup restore --search-path …` works around it"
        )
