"""What is said where disks are full, lock tables are small and sessions are few."""

import errno
import os
import shutil

import pytest

from iacalls_cli.database.programs import start_program
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup import verify
from tests.support.backup_folders import left_in
from tests.support.servers import OWNER, PASSWORD

LOCKS = 'HINT:  You might need to increase "max_locks_per_transaction".'
SAID = {
    "pg_dump": ("pg_dump: error: query failed: ERROR:  out of shared memory", LOCKS, "pg_dump: detail: Query was: LOCK TABLE public.t"),
    "a worker of pg_dump": ("pg_dump: error: could not obtain lock: ERROR:  out of shared memory", LOCKS),
    "pg_restore": ("pg_restore: error: could not execute query: ERROR:  out of shared memory", LOCKS, "Command was: CREATE TABLE x"),
    "an old server": ("pg_dump: error: query failed: ERROR:  out of shared memory", "HINT:  You might need to increase max_locks_per_transaction."),
    "a server without hints": ("pg_dump: error: query failed: ERROR:  out of shared memory",),
}  # fmt: skip


def fail(*lines):
    """The error of a program that says that."""
    script = "".join(f"echo '{line}' >&2; " for line in lines) + "exit 1"
    with start_program(["sh", "-c", script]) as running, pytest.raises(IacallsError) as caught:
        running.check()
    return caught.value


@pytest.mark.parametrize("name", SAID)
def test_a_small_lock_table_is_named_with_its_setting(name):
    error = fail(*SAID[name])
    assert "out of shared memory" in error.message
    assert "max_locks_per_transaction" in error.hint


def test_other_hints_of_a_server_are_not_shown():
    """A function of the database may write what it wants into them, and it may be a row."""
    error = fail("pg_restore: error: could not execute query: ERROR:  wrong", "HINT:  the password was s3cret")
    assert error.hint == ""
    assert "s3cret" not in error.message


@pytest.fixture
def limited(server, database):
    """The owner may have one session alone; in a database, a role, and the server's words for each."""
    yield from limit(server, f"ROLE {OWNER}")


def limit(server, what):
    with server.connect("postgres") as admin:
        admin.execute(f"ALTER {what} CONNECTION LIMIT 1")
    yield
    with server.connect("postgres") as admin:
        admin.execute(f"ALTER {what} CONNECTION LIMIT -1")


@pytest.mark.parametrize("command", [("backup", "create"), ("maintain", "vacuum"), ("maintain", "reindex", "--all")])
def test_a_role_with_a_session_limit_is_told_how_many_are_taken(limited, use, database, iacalls, tmp_path, command):
    use(database)
    options = ("--directory", str(tmp_path / "backups")) if command[0] == "backup" else ()
    outcome = iacalls(*command, *options)
    assert outcome.code in (1, 3)
    assert "too many connections for role" in outcome.error
    assert "a backup takes two sessions, `maintain vacuum` two or more" in outcome.error
    assert "password" not in outcome.error
    assert PASSWORD not in outcome.error


def test_so_is_a_database_with_a_limit(server, database, use, create_backup):
    use(database)
    for _ in limit(server, f"DATABASE {database}"):
        outcome = create_backup()
    assert outcome.code == 1
    assert "too many connections for database" in outcome.error
    assert "a backup takes two sessions" in outcome.error


@pytest.fixture
def two_backups(database, use, new_backup):
    use(database)
    return [new_backup("--schema-only")[0] for _ in range(2)]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_verify_goes_on_where_one_outcome_cannot_be_recorded(two_backups, iacalls, backup_folder, monkeypatch, number):
    def write(folder, proof):
        if folder == two_backups[1]:
            raise OSError(number, os.strerror(number), str(folder / "proof.json"))
        verified.append(folder)

    verified = []
    monkeypatch.setattr(verify, "write_proof", write)
    outcome = iacalls("backup", "verify", "--all", "--directory", str(backup_folder), "-o", "json")
    assert outcome.code == 1
    assert verified == [two_backups[0]]
    assert f"could not be recorded in {two_backups[1]}: {os.strerror(number)}" in outcome.error
    assert len(outcome.json["data"]) == 2


def test_damage_is_told_even_if_it_cannot_be_recorded(two_backups, iacalls, backup_folder, monkeypatch):
    def write(folder, proof):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(verify, "write_proof", write)
    dump = next(two_backups[0].glob("dump*"))
    dump.write_bytes(b"x" * dump.stat().st_size)
    outcome = iacalls("backup", "verify", "--all", "--directory", str(backup_folder), "-o", "json")
    assert outcome.code == 4
    findings = " ".join(row["finding"] or "" for row in outcome.json["data"])
    assert "was changed: its checksum differs" in findings
    assert "this could not be recorded" in findings


def test_a_dump_that_does_not_fit_on_the_disk_names_it(server, database, use, new_backup, iacalls, small_disk):
    """It takes some kilobytes, and megabytes when it is unpacked."""
    with server.connect(database, OWNER) as owner:
        owner.execute("CREATE TABLE public.bomb AS SELECT repeat('x', 1000000) AS a FROM generate_series(1, 5)")
    use(database)
    folder, _ = new_backup()
    copied = small_disk / folder.name
    shutil.copytree(folder, copied)
    before = left_in(small_disk)
    outcome = iacalls("backup", "restore", folder.name, "--into", f"{database}_x", "--directory", str(small_disk))
    assert outcome.code == 1
    assert f"the system refused {small_disk}/restore-of-" in outcome.error
    assert "No space left on device" in outcome.error
    assert left_in(small_disk) == before


def test_a_small_file_that_does_not_fit_names_itself(monkeypatch, tmp_path):
    from iacalls_cli.operations import files

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*proof\.json"):
        files.write_file(tmp_path / "proof.json", "x")
    assert left_in(tmp_path) == []


def test_completion_knows_backups_and_runs(
    two_backups, cleanup, configure, backup_folder, archive_folder, connection, old_rows
):
    from iacalls_cli.commands.backup.cli import complete_backups
    from iacalls_cli.commands.maintain.cli import complete_runs

    assert complete_backups() == complete_runs() == []
    assert cleanup().code == 0
    configure(f'[backup]\ndirectory = "{backup_folder}"\n[maintain]\narchives = "{archive_folder}"\n')
    assert complete_backups() == [folder.name for folder in reversed(two_backups)]
    assert complete_runs() == left_in(archive_folder)
    # Nothing may be written into a half-typed command line.
    configure("[backup]\nnonsense = 1\n[maintain]\nnonsense = 1\n")
    assert complete_backups() == complete_runs() == []
