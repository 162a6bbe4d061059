"""`iacalls backup prune` as a job: its plan, its lock, its question, and `create --prune`."""

import fcntl
import os
import shutil
from contextlib import contextmanager
from datetime import timedelta

import pytest

from iacalls_cli.operations.backup.lock import only_job
from tests.support.backup_folders import NOON, SERVER, days, ids, make_folder
from tests.support.command_line import run_terminal

ONE = ("--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0", "--min-keep", "1")


@contextmanager
def locked(folder):
    """Hold a folder as the job that works on it does."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield
    os.close(handle)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def prune(iacalls, store):
    def run(*arguments):
        return iacalls("backup", "prune", "--directory", str(store), *arguments)

    return run


def test_dry_run_shows_the_plan_without_removing_or_a_lock(prune, store):
    for moment in days(20):
        make_folder(store, moment, size=1024)
    before = ids(store)
    with only_job("backup create", SERVER, "shop"):
        outcome = prune("--dry-run", "-o", "csv")
    assert outcome.code == 0
    assert ids(store) == before
    lines = outcome.out.splitlines()
    assert lines[0] == "id,state,verdict,reason"
    assert len(lines) == 21
    removed = outcome.out.count(",remove,")
    assert f"iacalls: plan: remove {removed} of 20 backups ({removed}.0 kB) in {store}" in outcome.err


def test_another_job_at_work_is_named_and_nothing_is_removed(prune, store):
    for moment in days(20):
        make_folder(store, moment)
    with only_job("backup create", SERVER, "shop"):
        outcome = prune()
    assert outcome.code == 1
    assert "another backup job is at work on shop: backup create, process" in outcome.error
    assert len(ids(store)) == 20
    assert prune().code == 0
    assert len(ids(store)) < 20


def test_a_terminal_is_asked(store):
    for moment in days(3):
        make_folder(store, moment)
    command = ("backup", "prune", "--directory", str(store), *ONE)
    code, screen = run_terminal(*command, answers=[("Remove them? [y/N]", "n\n")])
    assert code == 0
    assert "nothing was changed" in screen
    assert len(ids(store)) == 3
    code, screen = run_terminal(*command, answers=[("Remove them? [y/N]", "y\n")])
    assert code == 0, screen
    assert ids(store) == ["shop_20260315T120000Z"]


def test_a_removal_cut_short_leaves_nothing_like_a_backup(prune, store, iacalls, monkeypatch):
    make_folder(store, NOON)
    make_folder(store, NOON - timedelta(days=1), label="before-migration")

    def stop(path, *arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stop)
        outcome = prune(*ONE)
    assert outcome.code == 130
    assert len(ids(store)) == 2
    listed = iacalls("backup", "list", "--directory", str(store), "-o", "json").json["data"]
    assert [row["id"] for row in listed] == ["shop_20260315T120000Z"]


def test_the_config_file_says_how_many(prune, store, tmp_path):
    (tmp_path / "iacalls.toml").write_text(
        "[backup]\nkeep_daily = 2\nkeep_weekly = 0\nkeep_monthly = 0\nmin_keep = 0\n"
    )
    for moment in days(5):
        make_folder(store, moment)
    assert prune("--keep-daily", "3", "--dry-run").out.count("  keep ") == 3
    assert prune().code == 0
    assert len(ids(store)) == 2


def test_create_prunes_only_after_success_and_only_that_database(server, database, use, iacalls, store, tmp_path):
    (tmp_path / "iacalls.toml").write_text(
        "[backup]\nkeep_daily = 1\nkeep_weekly = 0\nkeep_monthly = 0\nmin_keep = 1\n"
    )
    with server.connect(database) as connection:
        identifier = connection.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()[0]
    old = [make_folder(store, moment, database=database, server=identifier) for moment in days(3, NOON - timedelta(9))]
    others = [make_folder(store, moment) for moment in days(3)]
    dsn = use(database)
    create = ("backup", "create", "--prune", "--directory", str(store), "-o", "json")
    with server.connect(database) as connection:
        connection.execute("CREATE TABLE public.secret (id int); ALTER TABLE public.secret OWNER TO CURRENT_USER")
        assert iacalls(*create, "--dsn", dsn).code == 1
    assert all(folder.exists() for folder in old)
    with server.connect(database) as connection:
        connection.execute("DROP TABLE public.secret")
    with only_job("backup create", SERVER, "shop"):
        outcome = iacalls(*create)
    assert outcome.code == 0, outcome.err
    assert "plan: remove 3 of 4 backups" in outcome.err
    [made] = outcome.json["data"]
    assert set(ids(store)) == {made["id"], *(folder.name for folder in others)}


def test_unfinished_folders_of_others_are_not_cleared_away(database, use, iacalls, store):
    theirs = store / "holiday.partial"
    theirs.mkdir(parents=True)
    dead = store / "shop_20260101T000000Z_label.partial"
    dead.mkdir()
    alive = store / "shop_20260101T000000Z.partial"
    alive.mkdir()
    use(database)
    with locked(alive):
        assert iacalls("backup", "create", "--schema-only", "--directory", str(store)).code == 0
    assert theirs.exists()
    assert alive.exists()
    assert not dead.exists()
