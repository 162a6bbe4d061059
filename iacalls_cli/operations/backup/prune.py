"""Which backups to keep: one of each of the last days, weeks and months, grandfather, father and son.

Only backups that were read whole and still have all their files count, each database and kind of
contents by itself, by the time in the manifest. The newest ones stay in any case, and so do the
newest proven one and the one that was proven last. What was not verified, or has changed to the
eye, or is dated in the future, is neither counted nor removed.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from iacalls_cli.operations.backup.check import first_missing, is_future
from iacalls_cli.operations.backup.store import Backup
from iacalls_cli.operations.backup.verify import OWN_FILES
from iacalls_cli.safe_files import DamagedFile, open_folder

Bucket = Callable[[datetime], tuple[int, ...]]


@dataclass(frozen=True)
class Retention:
    """How many days, weeks and months to keep one backup of, and how many of the newest anyway."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 12
    least: int = 3


@dataclass(frozen=True)
class Decision:
    """What is to become of a backup (keep, remove or leave), and why."""

    backup: Backup
    verdict: str
    reason: str


def plan_prune(backups: Iterable[Backup], retention: Retention, now: datetime) -> list[Decision]:
    """A decision on every backup, in the order given."""
    judged = [(backup, object_to(backup, now)) for backup in backups]
    reasons: dict[str, list[str]] = {}
    groups: dict[tuple[str, ...], list[Backup]] = {}
    for backup, objection in judged:
        if backup.manifest and not objection:
            groups.setdefault(backup.manifest.group, []).append(backup)
    for group in groups.values():
        for name, reason in reasons_to_keep(group, retention):
            reasons.setdefault(name, []).append(reason)
    return [decide(backup, objection, reasons.get(backup.id, [])) for backup, objection in judged]


def object_to(backup: Backup, now: datetime) -> str:
    """Why a backup is neither counted nor removed, or ''."""
    if backup.foreign:
        return f"{backup.foreign}: never counted, never removed"
    if not backup.is_good or backup.manifest is None:
        return f"{backup.state}, not verified: never counted, never removed"
    if is_future(backup.manifest.taken, now):
        return "dated in the future: never counted, never removed"
    if missing := first_missing(backup):
        return f"{missing}: never counted, never removed"
    known = {*OWN_FILES, *(file.path for file in backup.manifest.files)}
    try:
        with open_folder(backup.folder) as folder:
            foreign = [path for path in folder.files() if path not in known]
    except (OSError, DamagedFile):
        return "its directory cannot be read: never counted, never removed"
    if foreign:
        return f"{foreign[0]} does not belong to this backup: never counted, never removed"
    return ""


def reasons_to_keep(group: list[Backup], retention: Retention) -> Iterator[tuple[str, str]]:
    """Backups of one group that are kept, with one reason; a backup may come several times."""
    newest_first = sorted(group, key=taken, reverse=True)
    for backup in newest_first[: max(1, retention.least)]:
        yield backup.id, "newest"
    proven = [backup for backup in newest_first if backup.state == "proven"]
    if proven:
        yield proven[0].id, "newest proven"
        yield max(proven, key=lambda backup: backup.proof.proven_at).id, "last proven"
    buckets: tuple[tuple[str, int, Bucket], ...] = (
        ("daily", retention.daily, lambda moment: (moment.toordinal(),)),
        ("weekly", retention.weekly, lambda moment: moment.isocalendar()[:2]),
        ("monthly", retention.monthly, lambda moment: (moment.year, moment.month)),
    )
    for reason, limit, bucket in buckets:
        seen: dict[tuple[int, ...], str] = {}
        for backup in newest_first:
            seen.setdefault(bucket(taken(backup)), backup.id)
        for name in list(seen.values())[:limit]:
            yield name, reason


def decide(backup: Backup, objection: str, reasons: list[str]) -> Decision:
    """The decision on one backup."""
    if objection:
        return Decision(backup, "leave", objection)
    if reasons:
        return Decision(backup, "keep", ", ".join(dict.fromkeys(reasons)))
    return Decision(backup, "remove", "no rule keeps it")


def taken(backup: Backup) -> datetime:
    """When a backup with a manifest was taken."""
    assert backup.manifest is not None  # noqa: S101, groups hold such only
    return backup.manifest.taken
