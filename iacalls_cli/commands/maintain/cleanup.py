"""`iacalls maintain cleanup`: rules, plan, confirmation, deletion, and what became of it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from iacalls_cli import diagnostics
from iacalls_cli.commands.clocks import clock_difference
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintain.archive_directory import open_archives, sizes
from iacalls_cli.commands.maintain.cleanup_result import (
    cleanup_result,
    plan_lines,
    plan_result,
    space_lines,
)
from iacalls_cli.config.checks import read_archive_age, read_positive, read_positive_age
from iacalls_cli.config.file import load_config
from iacalls_cli.database.connection import require_primary
from iacalls_cli.errors import DatabaseError, IacallsError, UsageError
from iacalls_cli.operations.maintain.archive.format import remove_folder
from iacalls_cli.operations.maintain.archive.store import Archive, Archives, old_archives
from iacalls_cli.operations.maintain.cleanup.plan import CleanupPlan, Refused, plan_cleanup
from iacalls_cli.operations.maintain.cleanup.protection import Activity
from iacalls_cli.operations.maintain.cleanup.rules import (
    BoundRule,
    Rule,
    bind_rule,
    built_in_rules,
    choose_rules,
    configured_rules,
)
from iacalls_cli.operations.maintain.cleanup.run import (
    CleanupResult,
    CleanupSettings,
    ServerFacts,
    all_problems,
    only_cleanup,
    read_server_facts,
    require_disk_space,
    run_cleanup,
)
from iacalls_cli.text import count_of, pretty_size
from iacalls_cli.units import read_duration
from iacalls_cli.values import make_clock

if TYPE_CHECKING:
    from iacalls_cli.database.connection import Connection, Session


@dataclass(frozen=True)
class CleanupOptions:
    """What the command line asks for, with the defaults of the config file."""

    days: int
    failed_call_days: int
    only: tuple[str, ...]
    archive: bool
    max_duration: str
    pause: str | None
    keep_archives: str | None
    tz: str
    directory: Path | None


def clean_up(run: Invocation, options: CleanupOptions) -> None:
    """Delete what is old, as the options and the config file say."""
    config = load_config().maintain
    rules = choose_rules(
        [
            *built_in_rules(options.days, options.failed_call_days),
            *configured_rules(config.rules),
        ],
        options.only,
    )
    zone = make_clock(options.tz).zone
    longest = read_positive("--max-duration", options.max_duration)
    pause = None if options.pause is None else read_duration("--pause", options.pause)
    running_within = read_positive_age("maintain.running_within", config.running_within)
    keep = options.keep_archives
    keep_for = None if keep is None else read_archive_age("--keep-archives", keep)
    archives = open_archives(options.directory)
    with run.session(read_only=False, fixed_money=True) as session:
        require_primary(session)
        clock = read_server_facts(session.connection)
        warn_of_clocks(clock, options.tz)
        bound, refused = bind_rules(session.connection, rules, clock, zone)
        with diagnostics.waiting("counting"):
            plan = plan_cleanup(session.connection, bound, Activity(clock.now, zone, running_within), refused)
        for line in plan_lines(plan):
            diagnostics.note(line)
        for warning in plan.warnings:
            diagnostics.warning(warning)
        mine = archives.of(clock.database, clock.system_identifier)
        old = old_archives(mine, keep_for, clock.now) if keep_for is not None else []
        if old:
            diagnostics.note(
                f"plan: remove {count_of(len(old), 'archive')} older than {keep} ({pretty_size(sizes(old))})"
            )
        if options.archive and plan.rows:
            require_encoding(session, plan)
            require_disk_space(plan, archives)
        if run.dry_run:
            run.write(plan_result(plan))
            show_archives(archives, mine)
            if failed := all_problems(plan):
                raise failed
            return
        if plan.rows:
            confirm_cleanup(run, session, plan, archives if options.archive else None)
        elif old:
            run.confirm_action(f"Remove {count_of(len(old), 'archive')}?")
        result = run_alone(session, plan, clock, CleanupSettings(archives if options.archive else None, longest, pause))
        if result.failure is None:
            remove(old)
        mine = archives.of(clock.database, clock.system_identifier)
        facts: dict[str, int | str] = {"count": len(mine), "bytes": sizes(mine), "directory": str(archives.directory)}
        run.write(cleanup_result(plan, result, facts))
        tell(run, result, plan, options.directory)
        show_archives(archives, mine)
        if result.failure is not None:
            raise result.failure


def bind_rules(
    connection: "Connection", rules: Sequence[Rule], clock: ServerFacts, zone: tzinfo
) -> tuple[list[BoundRule], list[Refused]]:
    """The rules on the live schema, and those that this database or role does not let us carry out.

    Raises `UsageError` for a rule that is wrong.
    """
    bound, refused = [], []
    for rule in rules:
        try:
            bound.append(bind_rule(connection, rule, clock.now, zone))
        except DatabaseError as error:
            refused.append(Refused(rule, error))
    return bound, refused


def warn_of_clocks(clock: ServerFacts, zone: str) -> None:
    """Say what may make ages wrong: a server's zone that stored times may be of, and clocks that differ."""
    if clock.zone not in (zone, "Etc/UTC", "UTC") or (zone == "UTC" and clock.zone not in ("UTC", "Etc/UTC", "GMT")):
        diagnostics.warning(
            f"this server's time zone is {clock.zone}, and stored times without a zone are read as {zone}; "
            f"--tz {clock.zone} reads them so"
        )
    if difference := clock_difference(clock.now):
        diagnostics.warning(f"{difference}; the server's decides what is old")


def require_encoding(session: "Session", plan: CleanupPlan) -> None:
    """Raise `UsageError` where rows that are to be archived may hold bytes that are no text.

    In SQL_ASCII any bytes are text, and an archive holds text in UTF-8.
    """
    has_archive = any(rule.bound.rule.has_archive for rule in plan.rules if rule.rows)
    if has_archive and session.connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        raise UsageError(
            f"{session.place.database} is in SQL_ASCII: its rows cannot be archived, and nothing was deleted",
            "back it up first (`iacalls backup create`), then clean up with --no-archive",
        )


def confirm_cleanup(run: Invocation, session: "Session", plan: CleanupPlan, archives: Archives | None) -> None:
    """Have the deed agreed to: y/N where an archive can undo it, the database's name where nothing can."""
    if archives is not None and all(rule.bound.rule.has_archive for rule in plan.rules if rule.rows):
        back = "it" if plan.rows == 1 else "them"
        run.confirm_action(f"Delete {count_of(plan.rows, 'row')}? `iacalls maintain undo` can put {back} back")
        return
    run.confirm_by_name(
        f"Without an archive {count_of(plan.rows, 'row')} {'is' if plan.rows == 1 else 'are'} gone for good.",
        session.place.database,
        is_embedded=session.place.is_embedded,
    )


def run_alone(session: "Session", plan: CleanupPlan, clock: ServerFacts, order: CleanupSettings) -> CleanupResult:
    """Do it, as the only cleanup of this database."""
    with only_cleanup(session.connection), diagnostics.progress() as progress:
        return run_cleanup(session.connection, plan, clock, order, progress)


def remove(old: Sequence[Archive]) -> None:
    """Remove archives that are old enough; one that stays is told, and is no failure of the cleanup."""
    for archive in old:
        try:
            remove_folder(archive.folder)
        except OSError as error:
            diagnostics.warning(f"{archive.id} could not be removed: {error.strerror}")
        except IacallsError as error:
            diagnostics.warning(f"{archive.id} could not be removed: {error.message}")


def tell(run: Invocation, result: CleanupResult, plan: CleanupPlan, directory: Path | None) -> None:
    """Say how it ended, where the rows are and what that means for the disk."""
    for problem in result.unrecovered:
        diagnostics.warning(problem)
    if result.archive is not None:
        # The configured one is where `maintain undo` looks by itself.
        directory = None if directory == load_config().maintain.archives else directory
        where = f" --directory {shlex.quote(str(directory))}" if directory else ""
        undo = run.repeat(f"maintain undo {result.archive.id}{where}")
        diagnostics.note(f"archived in {result.archive.folder}; {undo} puts it back")
    if result.state == "stopped":
        diagnostics.warning("stopped at --max-duration; the next run goes on")
    if skipped_locked := sum(stats.skipped_locked for stats in result.stats.values()):
        were = (
            "was in use and stays; the next run takes it"
            if skipped_locked == 1
            else "were in use and stay; the next run takes them"
        )
        diagnostics.note(f"{count_of(skipped_locked, 'row')} {were}")
    for name, stats in result.stats.items():
        if not stats.is_whole and not stats.is_stopped and (left := stats.remaining - stats.skipped_locked) > 0:
            were = "is left that was" if left == 1 else "are left that were"
            diagnostics.warning(
                f"rule {name}: {count_of(left, 'old row')} {were} changed or moved during the cleanup; run it again"
            )
    for line in space_lines(plan, result):
        diagnostics.note(line)


def show_archives(archives: Archives, mine: Sequence[Archive]) -> None:
    """Say what the archives of this database take."""
    if mine:
        what = count_of(len(mine), "archive of this database takes", "archives of this database take")
        diagnostics.note(f"{what} {pretty_size(sizes(mine))} in {archives.directory}")
