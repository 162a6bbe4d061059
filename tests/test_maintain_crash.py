"""`iacalls maintain cleanup` and `undo` that are killed, cut off or out of room: every row in its table or in an archive."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.backup_folders import wait_until
from tests.command_line import start_process
from tests.old_rows import add_old_rows, archived_rows, archives_in, check_sums, rows_of
from tests.servers import OWNER

DYING = Path(__file__).with_name("dying.py")
WRITER = "iacalls_cli.operations.maintain.writer:"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'iacalls/maintain%%' AND datname = %s"


@pytest.fixture
def folder(tmp_path):
    """Where archives go; not yet made."""
    return tmp_path / "archivos"


@pytest.fixture
def before(connection):
    """A database with old rows, all of them as they were."""
    add_old_rows(connection)
    return rows_of(connection)


@pytest.fixture
def target(server, database, use):
    """The database as the commands' target, and its environment for a process."""
    use(database)
    return {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}


@pytest.fixture
def cleanup(iacalls, folder, target):
    """Run a cleanup in this process."""
    return lambda *options: iacalls("maintain", "cleanup", "--directory", str(folder), "-o", "json", *options)


@pytest.fixture
def undo(iacalls, folder, target):
    """Run an undo in this process."""
    return lambda *options: iacalls("maintain", "undo", "--directory", str(folder), "-o", "json", *options)


@pytest.fixture
def die(server, database, folder, target):
    """Run a cleanup, or another command, that gets a signal at a point of its own; returns how it ended."""

    def run(place, moment, times, number=signal.SIGKILL, command=("maintain", "cleanup", "--pause", "0s")):
        process = subprocess.run(
            [sys.executable, DYING, place, moment, str(times), str(int(number)), *command, "--directory", str(folder)],
            capture_output=True,
            text=True,
            env=target,
            timeout=60,
        )
        wait_until(lambda: has_no_session(server, database))
        return process

    return run


def has_no_session(server, database):
    with server.connect("postgres") as admin:
        return admin.execute(SESSIONS, [database]).fetchone() == (0,)


def check_whole(connection, folder, before):
    """Each row is in its table or in a closed archive, once and as it was; the archives are sound."""
    kept = sum(map(archived_rows, archives_in(folder)), Counter())
    assert rows_of(connection) + kept == before
    for archive in archives_in(folder):
        assert check_sums(archive) == ""
    return kept


def put_all_back(undo, folder):
    for archive in reversed(archives_in(folder)):
        outcome = undo(archive.name)
        assert outcome.code == 0, outcome.err


# Where a cleanup of some transactions is killed: the moments between which what is on the disk and in the database changes.
MOMENTS = [
    ("ArchiveWriter.begin", "before", 1),
    ("write_archive_manifest", "after", 1),
    ("ArchiveWriter.begin", "after", 1),
    ("write_archive_manifest", "before", 2),
    ("PartWriter.begin", "after", 2),
    ("PartWriter.finish", "before", 2),
    ("PartWriter.finish", "after", 2),
    ("append_lines", "before", 3),
    ("ArchiveWriter.seal", "after", 1),
    ("ArchiveWriter.seal", "after", 3),
    ("ArchiveWriter.committed", "before", 2),
    ("ArchiveWriter.committed", "after", 2),
    ("ArchiveWriter.finish", "before", 1),
    ("close_archive", "before", 1),
    ("close_archive", "after", 1),
    ("ArchiveWriter.finish", "after", 1),
]
DEFAULT_MOMENTS = [MOMENTS[index] for index in (1, 6, 8, 10, 13)]


def kill_and_go_on(die, cleanup, undo, connection, folder, before, place, moment, times):
    process = die(WRITER + place, moment, times)
    assert process.returncode == -signal.SIGKILL, process.stderr
    outcome = cleanup("--pause", "0s")
    assert outcome.code == 0, outcome.err
    kept = check_whole(connection, folder, before)
    assert sum(kept.values()) == 3300
    assert not [path for path in folder.iterdir() if "partial" in path.name and time.time() - path.stat().st_mtime > 3600]
    put_all_back(undo, folder)
    assert rows_of(connection) == before


@pytest.mark.parametrize(("place", "moment", "times"), DEFAULT_MOMENTS)
def test_a_cleanup_killed_at_a_moment_loses_nothing(
    die, cleanup, undo, connection, folder, before, place, moment, times
):
    kill_and_go_on(die, cleanup, undo, connection, folder, before, place, moment, times)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "moment", "times"), [one for one in MOMENTS if one not in DEFAULT_MOMENTS])
def test_a_cleanup_killed_at_every_moment_loses_nothing(
    die, cleanup, undo, connection, folder, before, place, moment, times
):
    kill_and_go_on(die, cleanup, undo, connection, folder, before, place, moment, times)


def test_a_cleanup_killed_between_its_last_manifest_and_its_checksums_is_closed_by_the_next(
    die, cleanup, connection, folder, before
):
    # One at the beginning, one for each of two files, and this one.
    die("iacalls_cli.operations.maintain.archive:write_archive_manifest", "after", 4)
    (archive,) = archives_in(folder)
    assert json.loads((archive / "manifest.json").read_text())["state"] == "finished"
    assert not (archive / "SHA256SUMS").exists()
    assert cleanup().code == 0
    check_whole(connection, folder, before)


SETTLING = "iacalls_cli.operations.maintain.settling:"


@pytest.mark.parametrize(
    ("place", "moment"),
    [(SETTLING + "append_lines", "before"), (SETTLING + "append_lines", "after"), (SETTLING + "close_archive", "before"),
     ("iacalls_cli.operations.maintain.archive:write_archive_manifest", "after")],
)  # fmt: skip
def test_a_cleanup_killed_while_it_closes_what_a_killed_one_left_loses_nothing(
    die, cleanup, undo, connection, folder, before, place, moment
):
    assert die(WRITER + "ArchiveWriter.seal", "after", 2).returncode == -signal.SIGKILL
    process = die(place, moment, 1)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert cleanup().code == 0
    check_whole(connection, folder, before)
    put_all_back(undo, folder)
    assert rows_of(connection) == before


def test_an_archive_killed_while_it_is_removed_looks_like_none_and_goes_with_the_next_cleanup(
    die, cleanup, undo, connection, folder, before
):
    assert cleanup("--only", "whatsapp").code == 0
    # To be older than nothing, it has to be of another second.
    time.sleep(1.1)
    command = ("maintain", "cleanup", "--only", "failed-calls", "--keep-archives", "1s")
    process = die("iacalls_cli.operations.maintain.archive:shutil.rmtree", "before", 1, command=command)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [path.name.endswith(".removed") for path in sorted(folder.iterdir())].count(True) == 1
    assert len(undo().json["data"]) == 1
    assert cleanup().code == 0
    assert not [path for path in folder.iterdir() if path.name.endswith(".removed")]


def kill_at_random(server, database, connection, cleanup, undo, folder, target, before, times, seed):
    """Kill cleanups at random moments, one after the other; returns how many were at it."""
    chance, caught = random.Random(seed), 0
    for number in range(times):
        process = start_process("maintain", "cleanup", "--directory", str(folder), "--pause", "2ms", env=target)
        # Once it holds the lock it deletes; of what comes before nothing can be lost.
        wait_until(lambda process=process: process.poll() is not None or has_lock(server, database))
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate()
        caught += process.returncode == -signal.SIGKILL
        wait_until(lambda: has_no_session(server, database))
        if number % 5 == 4:  # and now and then somebody wants the rows back
            for archive in reversed(archives_in(folder)):
                assert undo(archive.name).code == 0
            assert rows_of(connection) == before
    outcome = cleanup()
    assert outcome.code == 0, outcome.err
    return caught


def has_lock(server, database):
    with server.connect(database) as admin:
        statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
        return admin.execute(statement, [database]).fetchone() != (0,)


@pytest.mark.slow
def test_thirty_cleanups_killed_at_random_moments_lose_nothing(
    server, database, connection, cleanup, undo, folder, target
):
    add_old_rows(connection, 120_000)
    before = rows_of(connection)
    caught = kill_at_random(server, database, connection, cleanup, undo, folder, target, before, 30, seed=5)
    assert caught > 20
    for archive in reversed(archives_in(folder)):
        assert check_sums(archive) == ""
        outcome = undo(archive.name)
        assert outcome.code == 0, outcome.err
    assert rows_of(connection) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("place", "moment", "deleted"),
    [("PartWriter.finish", "before", "some"), ("ArchiveWriter.seal", "before", "one more"),
     ("ArchiveWriter.seal", "after", "one more"), ("ArchiveWriter.committed", "before", "one more")],
)  # fmt: skip
def test_an_interrupted_cleanup_closes_its_archive_says_so_and_the_next_goes_on(
    die, cleanup, undo, connection, folder, before, number, place, moment, deleted
):
    process = die(WRITER + place, moment, 2, number, ("maintain", "cleanup", "--pause", "0s", "-o", "json"))
    assert process.returncode == 130, process.stderr
    assert "Traceback" not in process.stderr
    (archive,) = archives_in(folder)
    assert f"archived in {archive}" in process.stderr
    manifest = json.loads((archive / "manifest.json").read_text())
    kept = check_whole(connection, folder, before)
    answer = json.loads(process.stdout)
    assert (manifest["state"], answer["run"]["state"]) == ("interrupted", "interrupted")
    # What it says it deleted is what it deleted: with the commit that was under way.
    assert manifest["deleted"] == sum(kept.values()) == sum(row["deleted"] for row in answer["data"])
    assert cleanup().code == 0
    assert sum(check_whole(connection, folder, before).values()) == 3300


def test_an_interrupt_before_anything_was_deleted_leaves_no_archive(die, connection, folder, before):
    process = die(WRITER + "PartWriter.finish", "before", 1, signal.SIGTERM)
    assert process.returncode == 130, process.stderr
    assert list(folder.iterdir()) == []
    assert rows_of(connection) == before


def test_the_second_of_two_at_once_names_the_first_and_does_not_wait(
    server, database, connection, cleanup, undo, folder, before, die
):
    with server.connect(database, OWNER) as other:
        other.execute("SET application_name = 'iacalls/maintain cleanup'")
        other.execute("SELECT pg_advisory_lock(hashtextextended('iacalls maintain cleanup', 0))")
        outcome = cleanup()
        assert outcome.code == 1
        named = f"iacalls/maintain cleanup, session {other.info.backend_pid} of {OWNER} from 127.0.0.1, since 20"
        assert named in outcome.error
        assert outcome.out == ""
        assert not folder.exists()
        assert cleanup("--dry-run").code == 0
    wait_until(lambda: has_no_session(server, database))
    assert cleanup().code == 0
    (archive,) = archives_in(folder)
    with server.connect(database) as other:  # of a role whose session's state the owner may not see
        other.execute("SET application_name = 'iacalls/maintain undo'")
        other.execute("SELECT pg_advisory_lock(hashtextextended('iacalls maintain cleanup', 0))")
        outcome = undo(archive.name)
        assert outcome.code == 1
        assert f"iacalls/maintain undo, session {other.info.backend_pid} of " in outcome.error
        assert "None" not in outcome.error
        assert undo(archive.name, "--dry-run").code == 0


def test_the_lock_goes_with_a_killed_session_and_undo_waits_for_no_cleanup(
    server, database, connection, cleanup, undo, folder, before, target
):
    first = start_process("maintain", "cleanup", "--directory", str(folder), "--pause", "60s", env=target)
    wait_until(lambda: archives_in(folder) and rows_of(connection) != before)
    for arguments in ((), ("--dry-run",)):
        outcome = undo("newest", *arguments)
        assert outcome.code == 1
        assert "still at work" in outcome.error
    assert undo().json["data"][0]["state"] == "running"
    outcome = cleanup()
    assert (outcome.code, "another cleanup or undo is at work" in outcome.error) == (1, True)
    assert len(archives_in(folder)) == 1
    with server.connect("postgres") as admin:
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'iacalls/maintain cleanup'"
        admin.execute(statement)
    wait_until(lambda: has_no_session(server, database))
    first.kill()
    first.communicate()
    assert undo().json["data"][0]["state"] == "killed"
    assert cleanup("--pause", "0s").code == 0
    check_whole(connection, folder, before)
