"""Clocks that are wrong, on this machine or at another time: ages are the server's, and the future is named."""

import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from iacalls_cli.operations.backup.store import Store
from tests.support.backup_folders import make_folder, rewrite
from tests.support.old_rows import add_old_rows, archives_in
from tests.support.servers import OWNER

DAYS = timedelta(days=400)
# Where this machine's clock is read.
PLACES = (
    "iacalls_cli.commands.clocks", "iacalls_cli.commands.maintain.cleanup", "iacalls_cli.operations.files",
    "iacalls_cli.operations.backup.store", "iacalls_cli.operations.maintain.archive.store",
)  # fmt: skip


class ShiftedDatetime:
    """The class datetime of a machine whose clock is wrong."""

    def __init__(self, shift):
        self.shift = shift

    def now(self, zone=None):
        return datetime.now(zone) + self.shift

    def __getattr__(self, name):
        return getattr(datetime, name)


@pytest.fixture
def shift_clock(monkeypatch):
    """Let this machine's clock be wrong from now on."""

    def shift(by):
        for place in PLACES:
            monkeypatch.setattr(f"{place}.datetime", ShiftedDatetime(by), raising=False)

    return shift


def name_time(folder):
    return datetime.strptime(folder.name.rsplit("_", 1)[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@pytest.mark.parametrize("shift", [DAYS, -DAYS, timedelta(hours=5)])
def test_archives_are_dated_and_removed_by_the_servers_clock(
    cleanup, undo, connection, archive_folder, old_rows, shift_clock, shift
):
    assert cleanup().code == 0
    (first,) = archives_in(archive_folder)
    add_old_rows(connection)
    shift_clock(shift)
    outcome = cleanup("--keep-archives", "180d")
    assert outcome.code == 0, outcome.err
    assert "this machine's differs by" in outcome.err
    assert first in archives_in(archive_folder)
    (second,) = set(archives_in(archive_folder)) - {first}
    assert abs(name_time(second) - datetime.now(UTC)) < timedelta(minutes=5)
    assert undo("newest", "--dry-run").code == 0
    # Ages are real ones: after 180 days by the server's clock it goes.
    shift_clock(timedelta(0))
    old = first.rename(first.with_name(first.name.replace(first.name[-16:], "20200101T000000Z")))
    assert cleanup("--keep-archives", "180d").code == 0
    assert not old.exists()


def test_an_archive_of_the_future_is_neither_newest_nor_old(cleanup, undo, connection, archive_folder, old_rows):
    assert cleanup().code == 0
    (first,) = archives_in(archive_folder)
    ahead = datetime.now(UTC) + DAYS
    moved = first.rename(first.with_name(first.name[:-16] + f"{ahead:%Y%m%dT%H%M%SZ}"))
    outcome = undo("newest")
    assert outcome.code == 2
    assert f"{moved.name} is dated in the future" in outcome.error
    assert "name the run by its ID" in outcome.error
    assert cleanup("--keep-archives", "1d").code == 0
    assert moved.exists()


def test_with_faketime(server, database, connection, archive_folder, old_rows):
    """The whole process believes it, as on a machine whose clock is wrong."""
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed (apt-get install faketime)")
    command = ["faketime", "-f", "+400d", sys.executable, "-m", "iacalls_cli", "maintain", "cleanup"]
    environment = {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}
    for _ in range(2):
        add_old_rows(connection)
        subprocess.run(
            [*command, "--directory", archive_folder, "--keep-archives", "180d", "-q"],
            env=environment, check=True, capture_output=True,
        )  # fmt: skip
    assert len(archives_in(archive_folder)) == 2


@pytest.mark.parametrize("shift", [DAYS, -DAYS])
def test_the_newest_backup_is_that_of_the_latest_snapshot(
    filled_database, use, create_backup, backup_folder, shift_clock, shift
):
    use(filled_database)
    if shift > timedelta(0):
        shift_clock(shift)
    outcome = create_backup("--schema-only", "--label", "first")
    assert outcome.code == 0, outcome.err
    assert ("this machine's differs by" in outcome.err) == (shift > timedelta(0))
    shift_clock(min(shift, timedelta(0)))
    assert create_backup("--schema-only", "--label", "second").code == 0
    store = Store(backup_folder)
    assert [backup.manifest.label for backup in store.backups()] == ["second", "first"]
    assert store.find("newest").manifest.label == "second"


def test_a_zone_of_this_machine_changes_nothing(filled_database, use, create_backup, backup_folder, monkeypatch):
    use(filled_database)
    try:
        for zone in ("America/Bogota", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            outcome = create_backup("--schema-only", "--label", zone.partition("/")[2])
            assert outcome.code == 0, outcome.err
            assert "differs by" not in outcome.err
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert [backup.manifest.label for backup in Store(backup_folder).backups()] == ["Tokyo", "Bogota"]


def test_a_name_in_the_future_does_not_make_the_newest(tmp_path):
    """Made before the machine's clock was set back; its manifest has the server's time."""
    now = datetime.now(UTC)
    ahead = make_folder(tmp_path, now + DAYS, label="ahead")
    backup = Store(tmp_path).find(ahead.name)
    rewrite(ahead, backup.manifest, snapshot_at=(now - timedelta(hours=2)).isoformat())
    later = make_folder(tmp_path, now - timedelta(hours=1))
    assert [backup.folder for backup in Store(tmp_path).backups()] == [later, ahead]
    assert Store(tmp_path).find("newest").folder == later


def test_prune_neither_counts_nor_removes_what_is_of_the_future(tmp_path, iacalls):
    now = datetime.now(UTC)
    ahead = [make_folder(tmp_path, now + DAYS + timedelta(days=number)) for number in range(3)]
    past = [make_folder(tmp_path, now - timedelta(days=number)) for number in range(3)]
    options = ("--keep-daily", "0", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1", "--yes")
    outcome = iacalls("backup", "prune", "--directory", str(tmp_path), *options)
    assert outcome.code == 0, outcome.err
    assert f"{ahead[0].name} is dated in the future" in outcome.err
    assert [folder for folder in (*ahead, *past) if folder.exists()] == [*ahead, past[0]]


def test_a_proof_from_the_future_does_not_count(tmp_path, iacalls):
    now = datetime.now(UTC)
    make_folder(tmp_path, now, state="proven", proven_at=now + DAYS)
    outcome = iacalls("backup", "check", "--directory", str(tmp_path), "--max-proven-age", "35d")
    assert outcome.code == 4
    assert "proven only in the future" in outcome.error
    make_folder(tmp_path, now - timedelta(days=1), state="proven", proven_at=now - timedelta(days=1))
    assert iacalls("backup", "check", "--directory", str(tmp_path), "--max-proven-age", "35d").code == 0
