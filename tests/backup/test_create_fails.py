"""`iacalls backup create` that is killed, cut off or out of room: nothing looks good, nothing is left, the next works."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from iacalls_cli.database.programs import choose_programs
from iacalls_cli.operations.backup.snapshot import exported_snapshot
from iacalls_cli.operations.backup.store import Store, read_backup
from tests.support.backup_folders import left_in, wait_until
from tests.support.command_line import start_process
from tests.support.servers import OWNER

# Sessions of pg_dump that are at a table's rows; their names end in digits, psycopg's session has none.
DUMPING = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'iacalls/backup create %' AND query LIKE 'COPY %'"
)
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'iacalls/backup create%'"
WAYS = [("custom", "zstd"), ("directory", "zstd"), ("plain", "gzip:1"), ("custom", "none")]


@pytest.fixture
def begin(server, backup_folder):
    """Start a `backup create` and do not wait for it; what still runs at the end is killed."""
    running = []

    def start(name, *options):
        env = {**os.environ, "IACALLS_DSN": server.dsn(name, OWNER)}
        running.append(start_process("backup", "create", "--directory", str(backup_folder), *options, env=env))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def end_dump(server, ended):
    """End the session of a pg_dump as an administrator would, once it copies rows."""
    with server.connect("postgres") as admin:
        ((pid,),) = wait_until(lambda: admin.execute(DUMPING).fetchall())
        ended.extend(admin.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone())


def has_no_session(server):
    with server.connect("postgres") as admin:
        return admin.execute(SESSIONS).fetchone() == (0,)


@pytest.mark.parametrize(("form", "compress"), WAYS)
def test_a_dump_whose_session_the_server_ends_leaves_nothing(
    server, large_database, use, create_backup, backup_folder, form, compress
):
    use(large_database)
    ended = []
    thread = threading.Thread(target=end_dump, args=(server, ended))
    thread.start()
    outcome = create_backup("--format", form, "--compress", compress, "--jobs", "1")
    thread.join()
    assert ended == [True]
    assert outcome.code == 1
    # A server that is in the middle of sending rows closes the connection without a word.
    reasons = ("terminating connection due to administrator command", "server closed the connection unexpectedly")
    assert any(reason in outcome.error for reason in reasons), outcome.error
    assert left_in(backup_folder) == []
    assert create_backup("--format", form, "--compress", compress).code == 0


def test_pg_dump_itself_leaves_half_a_file_that_looks_good(server, large_database, tmp_path):
    """Why backups are made under another name: the file has the final name, and its list can be read."""
    programs, path = choose_programs(server.major).folder, tmp_path / "night.dump"
    ended = []
    thread = threading.Thread(target=end_dump, args=(server, ended))
    thread.start()
    dsn = f"{server.dsn(large_database)} application_name='iacalls/backup create 1'"
    dump = subprocess.run([programs / "pg_dump", "-Fc", "-f", path, dsn], capture_output=True)
    thread.join()
    assert (ended, dump.returncode) == ([True], 1)
    assert subprocess.run([programs / "pg_restore", "-l", path], capture_output=True).returncode == 0


def interrupt_some(server, name, begin, iacalls, folder, times, seed):
    """Kill creates at random moments; after each, what is listed is good and the next one works."""
    chance = random.Random(seed)
    began = time.monotonic()
    assert begin(name).wait() == 0
    whole, unfinished = time.monotonic() - began, 0
    for number in range(times):
        sent = (signal.SIGKILL, signal.SIGTERM)[number % 2]
        form, compress = WAYS[number % len(WAYS)]
        process = begin(name, "--format", form, "--compress", compress, "--label", f"n{number}")
        time.sleep(chance.uniform(0.3, 1) * whole)
        process.send_signal(sent)
        said = process.communicate()[1].decode()
        assert process.returncode in (-sent, 130, 0), said  # one may have ended before
        left = left_in(folder)
        unfinished += any(entry.endswith(".partial") for entry in left)
        if sent == signal.SIGTERM:
            assert not [entry for entry in left if entry.endswith(f"_n{number}.partial")]
        listed = iacalls("backup", "list", "--directory", str(folder), "-o", "json").json["data"]
        assert {row["id"] for row in listed} == {entry for entry in left if not entry.endswith(".partial")}
        assert {row["state"] for row in listed} == {"verified"}
        assert iacalls("backup", "verify", "--all", "--directory", str(folder)).code == 0
        wait_until(lambda: has_no_session(server))
    assert begin(name).wait() == 0
    assert not [entry for entry in left_in(folder) if entry.endswith(".partial")]
    return unfinished


def test_a_create_killed_at_some_moments_leaves_nothing_good(server, large_database, begin, iacalls, backup_folder):
    interrupt_some(server, large_database, begin, iacalls, backup_folder, 4, seed=3)


@pytest.mark.slow
def test_a_create_killed_at_many_moments_leaves_nothing_good(server, large_database, begin, iacalls, backup_folder):
    """Without a folder left by any of them the moments would not have been in the dump."""
    assert interrupt_some(server, large_database, begin, iacalls, backup_folder, 20, seed=4) > 2


def test_the_second_of_two_names_the_first_without_waiting(large_database, use, begin, create_backup, backup_folder):
    use(large_database)
    first = begin(large_database, "--label", "first")
    # In the moment before its folder is locked, another one would take that for a leftover, and the first make it again.
    wait_until(lambda: [left_in(backup_folder / name) for name in left_in(backup_folder)] not in ([], [[]]))
    first.send_signal(signal.SIGSTOP)  # it stays at work for as long as this test wants
    outcome = create_backup()
    assert outcome.code == 1
    assert f"another backup job is at work on {large_database}: backup create, process {first.pid} of" in outcome.error
    assert len(left_in(backup_folder)) == 1  # its work was not taken for a leftover
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0
    assert [entry.endswith("_first") for entry in left_in(backup_folder)] == [True]


def test_a_killed_job_leaves_no_lock_and_its_folder_goes_later(
    large_database, use, begin, create_backup, iacalls, backup_folder
):
    use(large_database)
    first = begin(large_database, "--label", "first")
    (partial,) = wait_until(lambda: left_in(backup_folder))
    first.send_signal(signal.SIGSTOP)
    first.kill()
    first.communicate()
    assert left_in(backup_folder) == [partial]
    # It is called like a backup with a longer label, and is none.
    assert iacalls("backup", "list", "--directory", str(backup_folder), "-o", "json").json["data"] == []
    outcome = create_backup("--format", "plain")
    assert outcome.code == 0, outcome.err
    assert left_in(backup_folder) == [outcome.json["data"][0]["id"]]


def test_folders_of_others_are_left_alone(filled_database, use, create_backup, backup_folder):
    use(filled_database)
    others = ["film.partial", "notes", f"{filled_database}.partial"]
    for name in others:
        (backup_folder / name).mkdir(parents=True)
    assert create_backup().code == 0
    assert set(others) < set(left_in(backup_folder))


def test_a_job_ended_in_its_own_snapshot_leaves_nothing(server, large_database, use, create_backup, backup_folder):
    """The other session: not pg_dump's, but the one whose snapshot it shares."""
    use(large_database)

    def end():
        with server.connect("postgres") as admin:
            wait_until(lambda: admin.execute(DUMPING).fetchall())
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'iacalls/backup create'"
            )

    thread = threading.Thread(target=end)
    thread.start()
    outcome = create_backup()
    thread.join()
    assert outcome.code == 3
    assert "the connection was lost" in outcome.error
    assert left_in(backup_folder) == []
    assert has_no_session(server)


def test_an_interrupt_within_a_savepoint_is_told_as_one(connection):
    """psycopg would speak of transactions in a wrong order, and SIGTERM end in an error."""

    def interrupt_before_a_block():
        with exported_snapshot(connection, "1s"):
            psycopg.Transaction(connection).__enter__()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt_before_a_block()
    connection.close()  # as the command line closes it


def test_too_little_room_is_told_before_dumping(large_database, use, create_backup, backup_folder, monkeypatch):
    use(large_database)
    monkeypatch.setattr(Store, "free_bytes", lambda _: 1_000_000)
    outcome = create_backup()
    assert outcome.code == 1
    assert f"{backup_folder} has 976.6 kB free, and the backup may need" in outcome.error
    assert left_in(backup_folder) == []
    assert create_backup("--schema-only").code == 0


def test_what_a_killed_job_left_takes_no_room_from_the_next(
    filled_database, use, new_backup, create_backup, backup_folder, monkeypatch
):
    use(filled_database)
    made, _ = new_backup()
    left = made.rename(made.with_name(f"{made.name}.partial"))
    monkeypatch.setattr(Store, "free_bytes", lambda _: 0 if left.exists() else 10**9)
    assert create_backup("--dry-run").code == 1  # which removes nothing
    assert left.exists()
    assert create_backup().code == 0


@pytest.mark.parametrize(("form", "compress"), [*WAYS, ("directory", "none")])
def test_a_full_disk_ends_it_with_nothing_left(large_database, use, iacalls, small_disk, monkeypatch, form, compress):
    use(large_database)
    monkeypatch.setattr(Store, "free_bytes", lambda _: 10**9)  # somebody else took it meanwhile
    outcome = iacalls("backup", "create", "--directory", str(small_disk), "--format", form, "--compress", compress)
    assert outcome.code == 1
    assert "No space left on device" in outcome.error
    assert left_in(small_disk) == []
    assert shutil.disk_usage(small_disk).used < 100_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_told(filled_database, use, create_backup, backup_folder):
    use(filled_database)
    backup_folder.mkdir(mode=0o500)
    outcome = create_backup()
    assert outcome.code == 1
    assert f"cannot write to the folder {backup_folder}" in outcome.error


def test_a_folder_whose_place_a_file_takes_is_told(filled_database, use, create_backup, backup_folder):
    use(filled_database)
    backup_folder.write_text("")
    outcome = create_backup()
    assert outcome.code == 1
    assert str(backup_folder) in outcome.error


def test_bytes_the_disk_changed_are_found_before_it_has_its_name(
    filled_database, use, create_backup, backup_folder, monkeypatch
):
    """The checksum of what was written is compared with what is read back."""
    use(filled_database)
    hash_files = "iacalls_cli.operations.backup.create.hash_files"
    from iacalls_cli.operations.files import hash_files as original

    def hash_changed(folder, paths):
        (archive,) = folder.glob("dump.pgdump.zst")
        content = bytearray(archive.read_bytes())
        content[len(content) // 2] ^= 1
        archive.write_bytes(content)
        return original(folder, paths)

    monkeypatch.setattr(hash_files, hash_changed)
    outcome = create_backup()
    assert outcome.code == 1
    assert "dump.pgdump.zst reads back otherwise than it was written" in outcome.error
    assert left_in(backup_folder) == []


def test_an_unfinished_backup_is_never_read_as_a_good_one(filled_database, use, new_backup, iacalls, backup_folder):
    """Also when all its files are there, and only the rename was not done."""
    use(filled_database)
    made, _ = new_backup("--label", "x")
    left = made.rename(made.with_name(f"{made.name}.partial"))
    assert read_backup(left).is_good
    outcome = iacalls("backup", "verify", "--directory", str(backup_folder))
    assert outcome.code == 2
    assert "there is no backup" in outcome.error
