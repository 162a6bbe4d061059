"""Whether the backups are as they should be: young enough, large enough, not shrunk, proven lately."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from iacalls_cli.operations.backup.manifest import Manifest
from iacalls_cli.operations.backup.store import Backup, Store
from iacalls_cli.operations.backup.verify import missing_bytes
from iacalls_cli.safe_files import DamagedFile, open_folder
from iacalls_cli.table import Prose
from iacalls_cli.text import pretty_size
from iacalls_cli.units import pretty_duration

FULL = "full"
CLOCK_TOLERANCE = timedelta(minutes=5)
TIME = re.compile(r"_\d{8}T\d{6}Z")


@dataclass(frozen=True)
class Demands:
    """What is demanded of the newest good full backup. None demands nothing; `max_shrink` is a share of one."""

    max_age: timedelta = timedelta(hours=26)
    min_size: int | None = None
    max_shrink: float = 0.3
    max_proven_age: timedelta | None = None


@dataclass(frozen=True)
class CheckLine:
    """One check of one database. `state` is ok or problem."""

    database: str
    check: str
    state: str
    detail: Prose


def check_backups(store: Store, demands: Demands, now: datetime, database: str = "") -> list[CheckLine]:
    """All checks of one database in a store, or of all. Reads manifests and the sizes of files, and takes no lock."""
    backups = store.of_database(database)
    lines = []
    groups: dict[str, list[Backup]] = {}
    for backup in backups:
        if backup.state == "damaged":
            finding = f"{backup.id}: {backup.problem or backup.proof.damage}"
            lines.append(CheckLine(database_of(backup), "damage", "problem", finding))
        elif backup.foreign:
            lines.append(CheckLine(database_of(backup), "owner", "problem", f"{backup.id}: {backup.foreign}"))
            continue
        elif missing := first_missing(backup):
            lines.append(CheckLine(database_of(backup), "files", "problem", f"{backup.id}: {missing}"))
        if backup.manifest and backup.manifest.contents == FULL:
            # By name: after an upgrade or a failover the server's identifier is another one.
            groups.setdefault(backup.database, []).append(backup)
    for group in groups.values():
        lines += check_group(group, demands, now)
    if not groups:
        of = f" of {database}" if database else ""
        lines.append(CheckLine(database, "age", "problem", f"there is no full backup{of} in {store.directory}"))
    return lines


def check_group(group: list[Backup], demands: Demands, now: datetime) -> Iterator[CheckLine]:
    """The checks of one database's full backups."""
    database = database_of(group[0])
    good = [backup for backup in group if backup.is_good and not first_missing(backup)]

    def line(check: str, problem: bool, detail: str) -> CheckLine:
        return CheckLine(database, check, "problem" if problem else "ok", detail)

    manifests = sorted((backup.manifest for backup in good if backup.manifest), key=taken, reverse=True)
    if not manifests:
        yield line("age", True, "there is no good backup")
        return
    newest = manifests[0]
    age = now - newest.taken
    yield line(
        "age",
        age > demands.max_age,
        f"{newest.id} is {pretty_duration(age)} old, at most {pretty_duration(demands.max_age)}",
    )
    if is_future(newest.taken, now):
        yield line("clock", True, f"{newest.id} is from the future")
    if demands.min_size is not None:
        detail = f"{newest.id} has {pretty_size(newest.size)}, at least {pretty_size(demands.min_size)}"
        yield line("size", newest.size < demands.min_size, detail)
    if before := comparable(manifests):
        # Rounded, so that 70 of 100 bytes are 30 % less and not a little more.
        share = round(1 - newest.size / before.size, 9) if before.size else 0
        detail = f"{newest.id} has {pretty_size(newest.size)}, {before.id} had {pretty_size(before.size)}"
        yield line("shrink", share > demands.max_shrink, detail)
    if demands.max_proven_age is not None:
        times = [backup.proof.proven_at for backup in good if backup.proof.proven_at]
        # One from the future would never grow old.
        proven = max((time for time in times if not is_future(datetime.fromisoformat(time), now)), default="")
        old = not proven or now - datetime.fromisoformat(proven) > demands.max_proven_age
        detail = f"last proven {proven}" if proven else "none was ever proven; `iacalls backup rehearse` does that"
        if times and not proven:
            detail = f"proven only in the future: {max(times)}"
        yield line("proven", old, detail)


def database_of(backup: Backup) -> str:
    """The database a backup is of; one without a manifest has it in its name, somewhat changed."""
    return str(backup.manifest.database["name"]) if backup.manifest else TIME.split(backup.id)[0]


def is_future(moment: datetime, now: datetime) -> bool:
    """Whether a moment is later than now, by more than clocks differ."""
    return moment > now + CLOCK_TOLERANCE


def taken(manifest: Manifest) -> datetime:
    """When a backup was taken."""
    return manifest.taken


def comparable(manifests: list[Manifest]) -> Manifest | None:
    """The backup before the newest that was made in the same way, so that sizes can be compared."""
    newest = manifests[0]
    same = (m for m in manifests[1:] if (m.format, m.compression) == (newest.format, newest.compression))
    return next(same, None)


def first_missing(backup: Backup) -> str:
    """What is missing at a glance: a file that is gone, has another size, or is none."""
    if backup.manifest is None:
        return ""
    try:
        with open_folder(backup.folder) as folder:
            return next(filter(None, (missing_bytes(folder, file) for file in backup.manifest.files)), "")
    except (OSError, DamagedFile):
        return "its directory cannot be read"
