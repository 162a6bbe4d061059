"""`iacalls backup prune`: grandfather, father and son, and what is never removed."""

import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacalls_cli.operations.backup.prune import Retention, plan_prune
from iacalls_cli.operations.backup.store import Store
from tests.support.backup_folders import NOON, SERVER, days, ids, make_folder

STATES = ("created", "verified", "proven", "damaged")


@pytest.fixture(scope="module", autouse=True)
def without_waiting_for_the_disk():
    """Hundreds of folders are made here, and none has to outlive a crash of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def store(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def prune(iacalls, store):
    def run(*arguments):
        return iacalls("backup", "prune", "--directory", str(store), *arguments)

    return run


def reasons(outcome):
    return {row["id"]: (row["verdict"], row["reason"]) for row in outcome.json["data"]}


def test_of_400_days_7_daily_4_weekly_and_12_monthly_stay(prune, store):
    for moment in days(400):
        make_folder(store, moment)
    outcome = prune("-o", "json")
    assert outcome.code == 0, outcome.err
    # 2026-03-15 is a Sunday: the newest of its week, and 8, 1 March and 22 February are those before.
    daily = [moment.date().isoformat() for moment in days(7)]
    weekly = ["2026-03-15", "2026-03-08", "2026-03-01", "2026-02-22"]
    monthly = [
        "2026-03-15", "2026-02-28", "2026-01-31", "2025-12-31", "2025-11-30", "2025-10-31",
        "2025-09-30", "2025-08-31", "2025-07-31", "2025-06-30", "2025-05-31", "2025-04-30",
    ]  # fmt: skip
    expected = {f"shop_{day.replace('-', '')}T120000Z" for day in (*daily, *weekly, *monthly)}
    assert set(ids(store)) == expected
    assert reasons(outcome)["shop_20260315T120000Z"] == ("keep", "newest, daily, weekly, monthly")
    assert reasons(outcome)["shop_20260228T120000Z"] == ("keep", "monthly")
    assert reasons(outcome)["shop_20260227T120000Z"] == ("remove", "no rule keeps it")


def test_of_several_a_day_the_last_stays(prune, store):
    for day in days(10):
        for hours in (0, 3, 9):
            make_folder(store, day + timedelta(hours=hours))
    prune("--keep-daily", "5", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert ids(store) == [f"shop_202603{day}T210000Z" for day in range(11, 16)]


def test_days_weeks_and_months_without_a_backup_do_not_count(prune, store):
    for number in (0, 40, 41, 200, 900):
        make_folder(store, NOON - timedelta(days=number))
    prune("--keep-daily", "3", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert ids(store) == ["shop_20260202T120000Z", "shop_20260203T120000Z", "shop_20260315T120000Z"]


def test_the_week_is_that_of_iso_8601_over_new_year(prune, store):
    # Monday 2025-12-29 to Sunday 2026-01-04 are one week.
    for day in (datetime(2025, 12, 28, tzinfo=UTC) + timedelta(days=number) for number in range(9)):
        make_folder(store, day)
    prune("--keep-daily", "0", "--keep-weekly", "2", "--keep-monthly", "0", "--min-keep", "1")
    assert ids(store) == ["shop_20260104T000000Z", "shop_20260105T000000Z"]


def test_the_day_is_that_of_utc(prune, store):
    make_folder(store, datetime.fromisoformat("2026-03-14T20:00:00-05:00"))
    make_folder(store, datetime.fromisoformat("2026-03-15T10:00:00-05:00"))
    prune("--keep-daily", "7", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert ids(store) == ["shop_20260315T150000Z"]


def test_databases_servers_and_contents_are_kept_each_by_itself(prune, store):
    kinds = [("shop", "full", SERVER), ("shop", "schema", SERVER), ("shop", "data", SERVER), ("iacalls", "full", "8")]
    for number, (database, contents, server) in enumerate(kinds):
        for day in days(5):
            make_folder(store, day - timedelta(minutes=number), database=database, contents=contents, server=server)
    prune("--keep-daily", "2", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert len(ids(store)) == 2 * len(kinds)
    left = Store(store).backups()
    assert {backup.manifest.group for backup in left} == {
        (SERVER, "shop", "full"), (SERVER, "shop", "schema"), (SERVER, "shop", "data"), ("8", "iacalls", "full")
    }  # fmt: skip


def test_the_last_good_backup_outlives_many_newer_bad_ones(prune, store):
    good = make_folder(store, NOON - timedelta(days=60))
    newer = [
        make_folder(store, moment, state="damaged" if number % 2 else "created")
        for number, moment in enumerate(days(30))
    ]
    # What a job that counts files does: it keeps the newest seven.
    assert good.name not in sorted(ids(store), reverse=True)[:7]
    outcome = prune("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1", "-o", "json")
    assert outcome.code == 0
    assert good.exists()
    assert all(folder.exists() for folder in newer)
    assert reasons(outcome)[good.name][0] == "keep"
    assert {verdict for name, (verdict, _) in reasons(outcome).items() if name != good.name} == {"leave"}


@pytest.mark.parametrize("loss", ["missing", "cut"])
def test_a_verified_backup_without_its_archive_does_not_count(prune, store, loss):
    good = make_folder(store, NOON - timedelta(days=60))
    for moment in days(10):
        archive = make_folder(store, moment) / "dump.pgdump"
        if loss == "missing":
            archive.unlink()
        else:
            archive.write_bytes(archive.read_bytes()[:-1])
    prune("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert good.exists()
    assert len(ids(store)) == 11


def test_the_newest_proven_and_the_one_proven_last_stay(prune, store):
    newest = make_folder(store, NOON - timedelta(days=50), state="proven", proven_at=NOON - timedelta(days=49))
    last = make_folder(store, NOON - timedelta(days=80), state="proven", proven_at=NOON - timedelta(days=1))
    make_folder(store, NOON - timedelta(days=90), state="proven", proven_at=NOON - timedelta(days=70))
    make_folder(store, NOON)
    prune("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")
    assert ids(store) == sorted([last.name, newest.name, "shop_20260315T120000Z"])


def test_what_it_did_not_make_is_left_alone(prune, store):
    for moment in days(3):
        make_folder(store, moment)
    (store / "backup_20260101.sql").write_text("theirs")
    (store / "shop_20250101T000000Z").mkdir()
    (store / "shop_20250101T000000Z" / "photo.jpg").write_text("theirs")
    (store / "notes").mkdir()
    note = make_folder(store, NOON - timedelta(days=9)) / "why-we-keep-this.txt"
    note.write_text("theirs")
    (store / "shop_20250102T000000Z").write_text("a file of such a name")
    assert prune("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1").code == 0
    assert ids(store) == [
        "backup_20260101.sql", "notes", "shop_20250101T000000Z", "shop_20250102T000000Z",
        note.parent.name, "shop_20260315T120000Z",
    ]  # fmt: skip
    assert note.exists()


retentions = st.builds(Retention, st.integers(0, 9), st.integers(0, 5), st.integers(0, 13), st.integers(1, 5))
series = st.lists(
    st.tuples(
        st.integers(0, 60 * 24 * 500),
        st.sampled_from(STATES),
        st.sampled_from(("full", "data")),
        st.integers(0, 60 * 24 * 500),
    ),
    max_size=14,
    unique_by=lambda one: one[0],
)


@given(series, retentions)
@settings(max_examples=60, deadline=None)
def test_whatever_there_is_the_rules_hold(tmp_path_factory, series, retention):
    folder = tmp_path_factory.mktemp("series")
    for minutes, state, contents, later in series:
        taken = NOON - timedelta(minutes=minutes)
        make_folder(folder, taken, state=state, contents=contents, proven_at=taken + timedelta(minutes=later))
    store = Store(folder)
    decisions = plan_prune(store.backups(), retention, NOON)
    verdicts = {decision.backup.id: decision.verdict for decision in decisions}
    assert set(verdicts) == set(ids(folder))
    for backup in store.backups():
        assert (verdicts[backup.id] == "leave") == (backup.state in ("created", "damaged"))
    for contents in ("full", "data"):
        good = [b for b in store.backups() if b.is_good and b.manifest.contents == contents]
        kept = [b for b in good if verdicts[b.id] == "keep"]
        assert {b.id for b in good[: retention.least]} <= {b.id for b in kept}
        proven = [b for b in good if b.state == "proven"]
        if proven:
            assert max(proven, key=lambda b: b.proof.proven_at) in kept
            assert proven[0] in kept
        assert len(kept) <= retention.daily + retention.weekly + retention.monthly + retention.least + 2
        dates = sorted({b.manifest.taken.date() for b in good}, reverse=True)[: retention.daily]
        assert set(dates) <= {b.manifest.taken.date() for b in kept}
        months = sorted({b.manifest.snapshot_at[:7] for b in good}, reverse=True)[: retention.monthly]
        assert set(months) <= {b.manifest.snapshot_at[:7] for b in kept}
    for decision in decisions:
        if decision.verdict == "remove":
            store.remove(decision.backup)
    again = plan_prune(store.backups(), retention, NOON)
    assert not [decision for decision in again if decision.verdict == "remove"]
    shutil.rmtree(folder)
