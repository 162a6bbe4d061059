"""`iacalls maintain cleanup` and `undo` that are killed, cut off or out of room: every row in its table or in an archive."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.support import TESTS
from tests.support.backup_folders import wait_until
from tests.support.command_line import start_process
from tests.support.old_rows import add_old_rows, archives_in, check_sums, check_whole, rows_of
from tests.support.servers import OWNER

DYING = TESTS / "support" / "dying.py"
WRITER = "iacalls_cli.operations.maintain.archive.writer:"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'iacalls/maintain%%' AND datname = %s"


@pytest.fixture
def environment(server, database):
    """For processes whose target is the database."""
    return {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}


@pytest.fixture
def die(server, database, archive_folder, environment):
    """Run a cleanup, or another command, that gets a signal at a point of its own; returns how it ended."""

    def run(place, moment, times, number=signal.SIGKILL, command=("maintain", "cleanup", "--pause", "0s")):
        process = subprocess.run(
            [
                sys.executable,
                DYING,
                place,
                moment,
                str(times),
                str(int(number)),
                *command,
                "--directory",
                str(archive_folder),
            ],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )
        wait_until(lambda: has_no_session(server, database))
        return process

    return run


def has_no_session(server, database):
    with server.connect("postgres") as admin:
        return admin.execute(SESSIONS, [database]).fetchone() == (0,)


def put_all_back(undo, archive_folder):
    for archive in reversed(archives_in(archive_folder)):
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


def check_left(archive_folder):
    """Nothing but archives, and what is too young to be cleared away."""
    left = [path for path in archive_folder.iterdir() if not path.name.endswith(("Z", ".partial"))]
    assert left == []


def kill_and_go_on(die, cleanup, undo, connection, archive_folder, old_rows, place, moment, times):
    process = die(WRITER + place, moment, times)
    assert process.returncode == -signal.SIGKILL, process.stderr
    outcome = cleanup("--pause", "0s")
    assert outcome.code == 0, outcome.err
    kept = check_whole(connection, archive_folder, old_rows)
    assert sum(kept.values()) == 3300
    check_left(archive_folder)
    put_all_back(undo, archive_folder)
    assert rows_of(connection) == old_rows


@pytest.mark.parametrize(("place", "moment", "times"), DEFAULT_MOMENTS)
def test_a_cleanup_killed_at_a_moment_loses_nothing(
    die, cleanup, undo, connection, archive_folder, old_rows, place, moment, times
):
    kill_and_go_on(die, cleanup, undo, connection, archive_folder, old_rows, place, moment, times)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "moment", "times"), [one for one in MOMENTS if one not in DEFAULT_MOMENTS])
def test_a_cleanup_killed_at_every_moment_loses_nothing(
    die, cleanup, undo, connection, archive_folder, old_rows, place, moment, times
):
    kill_and_go_on(die, cleanup, undo, connection, archive_folder, old_rows, place, moment, times)


def test_a_cleanup_killed_before_its_checksums_is_closed_later(die, cleanup, connection, archive_folder, old_rows):
    # One at the beginning, one for each of two files, and this one.
    die("iacalls_cli.operations.maintain.archive.format:write_archive_manifest", "after", 4)
    (archive,) = archives_in(archive_folder)
    assert json.loads((archive / "manifest.json").read_text())["state"] == "finished"
    assert not (archive / "SHA256SUMS").exists()
    assert cleanup().code == 0
    check_whole(connection, archive_folder, old_rows)


SETTLING = "iacalls_cli.operations.maintain.archive.recovery:"


@pytest.mark.parametrize(
    ("place", "moment"),
    [
        (SETTLING + "append_lines", "after"),
        pytest.param(SETTLING + "append_lines", "before", marks=pytest.mark.slow),
        pytest.param(SETTLING + "close_archive", "before", marks=pytest.mark.slow),
        pytest.param(
            "iacalls_cli.operations.maintain.archive.format:write_archive_manifest", "after", marks=pytest.mark.slow
        ),
    ],
)
def test_a_cleanup_killed_while_closing_another_loses_nothing(
    die, cleanup, undo, connection, archive_folder, old_rows, place, moment
):
    assert die(WRITER + "ArchiveWriter.seal", "after", 2).returncode == -signal.SIGKILL
    process = die(place, moment, 1)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert cleanup().code == 0
    check_whole(connection, archive_folder, old_rows)
    put_all_back(undo, archive_folder)
    assert rows_of(connection) == old_rows


def test_a_half_removed_archive_goes_with_the_next_cleanup(die, cleanup, undo, connection, archive_folder, old_rows):
    assert cleanup("--only", "whatsapp").code == 0
    (archive,) = archives_in(archive_folder)
    archive.rename(archive.with_name(f"{archive.name[:-16]}20200101T000000Z"))
    command = ("maintain", "cleanup", "--only", "failed-calls", "--keep-archives", "1h")
    process = die("iacalls_cli.safe_files:shutil.rmtree", "before", 1, command=command)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [path.name.endswith(".removed") for path in sorted(archive_folder.iterdir())].count(True) == 1
    assert len(undo().json["data"]) == 1
    assert cleanup().code == 0
    assert not [path for path in archive_folder.iterdir() if path.name.endswith(".removed")]


def kill_at_random(server, database, connection, cleanup, undo, archive_folder, environment, old_rows, times, seed):
    """Kill cleanups at random moments, one after the other; returns how many were at it."""
    chance, caught = random.Random(seed), 0
    for number in range(times):
        process = start_process(
            "maintain", "cleanup", "--directory", str(archive_folder), "--pause", "2ms", env=environment
        )
        # Once it holds the lock it deletes; of what comes before nothing can be lost.
        wait_until(lambda process=process: process.poll() is not None or has_lock(server, database))
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate()
        caught += process.returncode == -signal.SIGKILL
        wait_until(lambda: has_no_session(server, database))
        if number % 5 == 4:  # and now and then somebody wants the rows back
            for archive in reversed(archives_in(archive_folder)):
                assert undo(archive.name).code == 0
            assert rows_of(connection) == old_rows
    outcome = cleanup()
    assert outcome.code == 0, outcome.err
    return caught


def has_lock(server, database):
    with server.connect(database) as admin:
        statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = %s)"
        return admin.execute(statement, [database]).fetchone() != (0,)


@pytest.mark.slow
def test_thirty_cleanups_killed_at_random_moments_lose_nothing(
    server, database, connection, cleanup, undo, archive_folder, environment
):
    add_old_rows(connection, 120_000)
    old_rows = rows_of(connection)
    caught = kill_at_random(
        server, database, connection, cleanup, undo, archive_folder, environment, old_rows, 30, seed=5
    )
    assert caught > 20
    for archive in reversed(archives_in(archive_folder)):
        assert check_sums(archive) == ""
        outcome = undo(archive.name)
        assert outcome.code == 0, outcome.err
    assert rows_of(connection) == old_rows


INTERRUPTS = [
    (place, moment, number)
    for place, moment in (
        ("PartWriter.finish", "before"),
        ("ArchiveWriter.seal", "before"),
        ("ArchiveWriter.seal", "after"),
        ("ArchiveWriter.committed", "before"),
    )
    for number in (signal.SIGTERM, signal.SIGINT)
]


@pytest.mark.parametrize(
    ("place", "moment", "number"),
    [one if number in (0, 5) else pytest.param(*one, marks=pytest.mark.slow) for number, one in enumerate(INTERRUPTS)],
)
def test_an_interrupted_cleanup_closes_its_archive_and_says_so(
    die, cleanup, undo, connection, archive_folder, old_rows, place, moment, number
):
    process = die(WRITER + place, moment, 2, number, ("maintain", "cleanup", "--pause", "0s", "-o", "json"))
    assert process.returncode == 130, process.stderr
    assert "Traceback" not in process.stderr
    (archive,) = archives_in(archive_folder)
    assert f"archived in {archive}" in process.stderr
    manifest = json.loads((archive / "manifest.json").read_text())
    kept = check_whole(connection, archive_folder, old_rows)
    answer = json.loads(process.stdout)
    assert (manifest["state"], answer["run"]["state"]) == ("interrupted", "interrupted")
    # What it says it deleted is what it deleted: with the commit that was under way.
    assert manifest["deleted"] == sum(kept.values()) == sum(row["deleted"] for row in answer["data"])
    assert cleanup().code == 0
    assert sum(check_whole(connection, archive_folder, old_rows).values()) == 3300


def test_an_interrupt_before_any_deletion_leaves_no_archive(die, connection, archive_folder, old_rows):
    process = die(WRITER + "PartWriter.finish", "before", 1, signal.SIGTERM)
    assert process.returncode == 130, process.stderr
    assert list(archive_folder.iterdir()) == []
    assert rows_of(connection) == old_rows


def test_the_second_of_two_names_the_first_without_waiting(
    server, database, connection, cleanup, undo, archive_folder, old_rows, die
):
    with server.connect(database, OWNER) as other:
        other.execute("SET application_name = 'iacalls/maintain cleanup'")
        other.execute("SELECT pg_advisory_lock(hashtextextended('iacalls maintain cleanup', 0))")
        outcome = cleanup()
        assert outcome.code == 1
        named = f"iacalls/maintain cleanup, session {other.info.backend_pid} of {OWNER} from 127.0.0.1, since 20"
        assert named in outcome.error
        assert outcome.out == ""
        assert not archive_folder.exists()
        assert cleanup("--dry-run").code == 0
    wait_until(lambda: has_no_session(server, database))
    assert cleanup().code == 0
    (archive,) = archives_in(archive_folder)
    with server.connect(database) as other:  # of a role whose session's state the owner may not see
        other.execute("SET application_name = 'iacalls/maintain undo'")
        other.execute("SELECT pg_advisory_lock(hashtextextended('iacalls maintain cleanup', 0))")
        outcome = undo(archive.name)
        assert outcome.code == 1
        assert f"iacalls/maintain undo, session {other.info.backend_pid} of " in outcome.error
        assert "None" not in outcome.error
        assert undo(archive.name, "--dry-run").code == 0


def test_a_killed_sessions_lock_goes_and_undo_does_not_wait(
    server, database, connection, cleanup, undo, archive_folder, old_rows, environment
):
    first = start_process("maintain", "cleanup", "--directory", str(archive_folder), "--pause", "60s", env=environment)
    wait_until(lambda: archives_in(archive_folder) and rows_of(connection) != old_rows)
    for arguments in ((), ("--dry-run",)):
        outcome = undo("newest", *arguments)
        assert outcome.code == 1
        assert "still at work" in outcome.error
    assert undo().json["data"][0]["state"] == "running"
    outcome = cleanup()
    assert (outcome.code, "another cleanup or undo is at work" in outcome.error) == (1, True)
    assert len(archives_in(archive_folder)) == 1
    with server.connect("postgres") as admin:
        statement = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'iacalls/maintain cleanup'"
        )
        admin.execute(statement)
    wait_until(lambda: has_no_session(server, database))
    first.kill()
    first.communicate()
    assert undo().json["data"][0]["state"] == "killed"
    assert cleanup("--pause", "0s").code == 0
    check_whole(connection, archive_folder, old_rows)
