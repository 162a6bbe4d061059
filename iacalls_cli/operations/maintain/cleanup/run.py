"""A cleanup: one at a time on a database, rule by rule, with its archive, and VACUUM at the end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from iacalls_cli import __version__
from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import ConnectionFailed, DatabaseError, IacallsError
from iacalls_cli.operations.files import as_utc
from iacalls_cli.operations.maintain.archive.format import ArchiveManifest, remove_folder
from iacalls_cli.operations.maintain.archive.recovery import recover_archive
from iacalls_cli.operations.maintain.archive.store import Archive, Archives, clear_left, read_archive
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter
from iacalls_cli.operations.maintain.cleanup.delete import Progress, RuleDeletion, RuleStats, resolve_outcome
from iacalls_cli.operations.maintain.cleanup.plan import CleanupPlan, RulePlan
from iacalls_cli.operations.maintain.interrupts import held_back
from iacalls_cli.operations.maintain.vacuum_table import VacuumResult, vacuum_table
from iacalls_cli.queries import load_query
from iacalls_cli.text import pretty_size

# Of the rows' bytes, a compressed archive takes rarely more.
COMPRESSED_SHARE = 0.5
# What may end a cleanup.
CAUSES = (KeyboardInterrupt, IacallsError, OSError)


@dataclass(frozen=True)
class ServerFacts:
    """The server's clock and zone, and what tells the database from others."""

    now: datetime
    zone: str
    database: str
    system_identifier: str
    server_version: str
    block_size: int
    read_at: float = field(default_factory=time.monotonic)

    def moment(self) -> datetime:
        """The server's time at this moment."""
        return self.now + timedelta(seconds=time.monotonic() - self.read_at)


@dataclass(frozen=True)
class CleanupSettings:
    """How a cleanup is to go. Without `archives` nothing is archived; `pause` as in `RuleDeletion`."""

    archives: Archives | None
    longest: timedelta
    pause: timedelta | None


@dataclass
class CleanupResult:
    """What a cleanup did. `state` is finished, stopped (by time), interrupted or failed, with the `failure`.

    `problems` are the errors of rules, by name, that did not keep the other rules from being carried out.
    """

    state: str = "failed"
    archive: Archive | None = None
    stats: dict[str, RuleStats] = field(default_factory=dict)
    vacuumed: list[VacuumResult] = field(default_factory=list)
    seconds: float = 0.0
    vacuum_seconds: float = 0.0
    failure: BaseException | None = None
    problems: dict[str, IacallsError] = field(default_factory=dict)
    unrecovered: list[str] = field(default_factory=list)

    def fail(self, error: BaseException) -> None:
        """Note what ended it, unless something did before."""
        if self.failure is None:
            self.failure = failure_of(error)
            self.state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"


def read_server_facts(connection: Connection) -> ServerFacts:
    """The server's clock; raises `DatabaseError`."""
    return ServerFacts(**fetch(connection, load_query("maintain/clock"))[0])


@contextmanager
def only_cleanup(connection: Connection) -> Iterator[None]:
    """Be the only cleanup or undo on a database, of any user on any machine; never waits.

    Raises `IacallsError` naming the session that is at it.
    """
    if not fetch(connection, load_query("maintain/lock"))[0]["is_ours"]:
        holders = fetch(connection, load_query("maintain/cleanup-session"))
        named = ", ".join(
            f"{row['application'] or 'a session'}, session {row['pid']} of {row['role']}"
            + (f" from {row['client']}, since {row['since']}" if row["since"] else "")
            for row in holders
        )
        raise IacallsError(
            f"another cleanup or undo is at work on this database: {named or 'it has just ended'}",
            "wait for it to end, then try again",
        )
    yield  # the lock ends with the session


def require_disk_space(plan: CleanupPlan, archives: Archives) -> None:
    """Raise `IacallsError` where the archives' disk has no room for what may go there."""
    needed = int(sum(rule.bytes for rule in plan.rules if rule.bound.rule.has_archive) * COMPRESSED_SHARE)
    free = archives.free_bytes()
    if needed > free:
        raise IacallsError(
            f"{archives.directory} has {pretty_size(free)} free, and the archive may need {pretty_size(needed)}",
            "free space, or choose another directory for the archives",
        )


def run_cleanup(
    connection: Connection, plan: CleanupPlan, facts: ServerFacts, settings: CleanupSettings, progress: Progress
) -> CleanupResult:
    """Delete what the plan found, under the lock of `only_cleanup`; the result tells how far it came, and why.

    Each transaction is whole in itself, so whatever ends this leaves nothing half-done. Nothing
    is raised: what ended it is the result's `failure`.
    """
    began, result = time.monotonic(), CleanupResult()
    writer = None
    try:
        if settings.archives:
            result.unrecovered = recover_archives(connection, settings.archives, facts)
            if any(rule.rows and rule.bound.rule.has_archive for rule in plan.rules):
                writer = open_writer(settings.archives, plan, facts)
        deadline = began + settings.longest.total_seconds()
        deletion = RuleDeletion(connection, writer, facts.block_size, deadline, settings.pause, progress, result.stats)
        result.state = delete_by_rules(deletion, plan.rules, result.problems)
    except CAUSES as error:
        result.fail(error)
    try:
        with held_back():
            result.archive = close_writer(connection, writer, result)
        deleted = time.monotonic()
        if result.failure is None:
            vacuum_touched(connection, plan, result)
        result.vacuum_seconds = time.monotonic() - deleted
    except CAUSES as error:
        result.fail(error)
    if result.failure is None and (failed := all_problems(plan, result)):
        result.failure = failed
    result.seconds = time.monotonic() - began
    return result


def recover_archives(connection: Connection, archives: Archives, facts: ServerFacts) -> list[str]:
    """Close what killed runs left open, and clear away what is none; returns what could not be closed, and why.

    Raises `ConnectionFailed`: no other archive is worth stopping for.
    """
    clear_left(archives.directory)
    problems = []
    for archive in archives.of(facts.database, facts.system_identifier):
        try:
            recovered = recover_archive(connection, archive)
            if (
                recovered is not archive
                and recovered.manifest
                and not recovered.manifest.deleted + recovered.manifest.changed
            ):
                remove_folder(recovered.folder)
        except ConnectionFailed:
            raise
        except (IacallsError, OSError, ValueError, KeyError) as error:
            problems.append(f"{archive.id}, which a killed run left, cannot be closed: {error}")
    return problems


def delete_by_rules(deletion: RuleDeletion, rules: Sequence[RulePlan], problems: dict[str, IacallsError]) -> str:
    """Delete rule by rule; returns whether that came to its end: finished, stopped, or failed for some rules.

    What the server refuses of one rule is noted in `problems`, and the others go on.
    """
    for rule in rules:
        if not rule.rows:
            continue
        try:
            if deletion.run(rule).is_stopped:
                return "stopped"
        except DatabaseError as error:
            problems[rule.bound.rule.name] = error
    return "failed" if problems else "finished"


def all_problems(plan: CleanupPlan, result: CleanupResult | None = None) -> IacallsError | None:
    """One error for all rules that could not be carried out; None where every one was, or could be."""
    refused = [(one.rule.name, one.error) for one in plan.refused]
    errors = []
    for name, error in [*refused, *(result.problems if result else {}).items()]:
        prefix = "" if error.message.startswith("rule ") else f"rule {name}: "
        errors.append(DatabaseError(prefix + error.message, error.hint))
    if len(errors) < 2:
        return errors[0] if errors else None
    return DatabaseError(
        f"{len(errors)} rules could not be carried out: {'; '.join(error.message for error in errors)}",
        "; ".join(dict.fromkeys(error.hint for error in errors if error.hint)),
    )


def failure_of(error: BaseException) -> BaseException:
    """What ended a cleanup, in words."""
    if isinstance(error, OSError):
        return IacallsError(
            f"cannot write the archive: {error.strerror}; what it could not take was not deleted",
            "free space, or choose another directory for the archives; the next cleanup goes on",
        )
    return error


def open_writer(archives: Archives, plan: CleanupPlan, facts: ServerFacts) -> ArchiveWriter:
    """A new archive."""
    archives.make()
    name = archives.new_id(facts.database, facts.moment())
    rules = tuple(
        {
            "name": rule.bound.rule.name,
            "table": str(rule.bound.rule),
            "age_column": rule.bound.rule.age_column,
            "cut_off": rule.bound.cut_off.astimezone(UTC).isoformat(),
            "filter": rule.bound.rule.filter,
            "planned": rule.rows,
        }
        for rule in plan.rules
    )
    server = {key: value for key, value in asdict(facts).items() if key in ("system_identifier", "server_version")}
    manifest = ArchiveManifest(name, {"name": facts.database, **server}, __version__, as_utc(facts.moment()), rules)
    return ArchiveWriter.begin(archives.directory / name, manifest)


def close_writer(connection: Connection, writer: ArchiveWriter | None, result: CleanupResult) -> Archive | None:
    """Bring the archive to its end; None where nothing was deleted. Raises OSError.

    Also where that fails, its parts are on the disk, and the next command closes it.
    """
    if writer is None:
        return None
    if writer.open_parts:
        resolve_outcome(connection, writer)
    is_kept = True
    try:
        is_kept = writer.finish(result.state)
    finally:
        result.archive = read_archive(writer.folder) if is_kept else None
    return result.archive


def vacuum_touched(connection: Connection, plan: CleanupPlan, result: CleanupResult) -> None:
    """VACUUM (ANALYZE) the tables that rows were deleted from or changed in."""
    schema = plan.schema
    oids: dict[int, None] = {}
    for rule in plan.rules:
        touched = result.stats.get(rule.bound.rule.name, RuleStats()).touched
        oids.update(dict.fromkeys(oid for oid in rule.cascades.written() if oid in touched))
    for oid in oids:
        result.vacuumed.append(vacuum_table(connection, schema.relations[oid].schema, schema.relations[oid].name))
