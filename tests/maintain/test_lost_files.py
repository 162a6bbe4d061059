"""A cleanup that loses its server, its disk or its folder: one line, nothing lost, and the next command knows what became of it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress

import psycopg
import pytest

from iacalls_cli.database.connection import REPORTING, Connection, apply_settings
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.operations.db.init import apply_schema
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter
from tests.support.old_rows import add_old_rows, archived_rows, archives_in, check_sums, check_whole, rows_of
from tests.support.servers import OWNER, local_bundle, make_private_server, remove_private_server, server_kind


@pytest.fixture(scope="module")
def own_server():
    """A server that may be shut down, and that loses nothing then; with the schema."""
    if server_kind() not in ("embedded", "local"):
        pytest.skip("this server is not ours to shut down")
    made, port = make_private_server(
        local_bundle() if server_kind() == "local" else bundled(), synchronous_commit="on", fsync="off"
    )
    made.start()
    dsn = psycopg.conninfo.make_conninfo(**{**made.conninfo("postgres"), "host": "127.0.0.1", "port": port})
    with Connection.connect(dsn, autocommit=True) as connection:
        apply_settings(connection, read_only=False, limits=REPORTING)
        apply_schema(connection, "Contraseña-1")
    yield made, dsn
    remove_private_server(made)


def act_at(monkeypatch, action, times, moment="after", name="seal"):
    """Do something at the TIMES-th call of a method of the archive's writer."""
    original, calls = getattr(ArchiveWriter, name), []

    def wrapped(self, *arguments):
        calls.append(1)
        if moment == "before" and len(calls) == times:
            action()
        answer = original(self, *arguments)
        if moment == "after" and len(calls) == times:
            action()
        return answer

    monkeypatch.setattr(ArchiveWriter, name, wrapped)


def shut_down(server, number):
    """Shut a server down, and wait for its end."""
    pid = int((server.places.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, number)
    until = time.monotonic() + 30
    while server._is_alive():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_server_that_is_shut_down_in_mid_run_loses_nothing(
    own_server, iacalls, archive_folder, monkeypatch, number, moment
):
    made, dsn = own_server
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("TRUNCATE public.whatsapp_conversations, public.call_records RESTART IDENTITY")
        add_old_rows(connection)
        old_rows = rows_of(connection)
    arguments = ["maintain", "cleanup", "--directory", str(archive_folder), "--dsn", dsn]
    with monkeypatch.context() as patched:
        act_at(patched, lambda: shut_down(made, number), 2, moment)
        outcome = iacalls(*arguments)
    assert outcome.code == 3
    assert "connection" in outcome.error
    made.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert iacalls(*arguments).code == 0
        if number == signal.SIGINT:
            check_whole(connection, archive_folder, old_rows)
        # A server that crashed may not know the last transaction's number any more: then it counts as
        # committed, and its rows may be both in an archive and in their table.
        kept = sum(map(archived_rows, archives_in(archive_folder)), Counter())
        assert not old_rows - rows_of(connection) - kept
        for archive in archives_in(archive_folder):
            outcome = iacalls("maintain", "undo", archive.name, *arguments[2:])
            assert outcome.code == 0, outcome.err
        assert rows_of(connection) == old_rows


def test_a_session_that_is_ended_loses_nothing(
    server, database, cleanup, connection, archive_folder, old_rows, monkeypatch
):
    def end():
        with server.connect("postgres") as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name = 'iacalls/maintain cleanup'",
                [database],
            )
            while admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'iacalls/maintain cleanup'",
                [database],
            ).fetchone() != (0,):
                time.sleep(0.01)

    for name, moment in (("seal", "before"), ("seal", "after"), ("committed", "after")):
        with monkeypatch.context() as patched:
            act_at(patched, end, 1, moment, name)
            outcome = cleanup("--only", "whatsapp")
        assert outcome.code == 3, (name, moment, outcome.err)
        assert "the connection was lost" in outcome.error
    assert cleanup().code == 0
    check_whole(connection, archive_folder, old_rows)


class Cutter(threading.Thread):
    """A way to the server that is cut at a COMMIT: before the server gets it, or before its answer comes back."""

    def __init__(self, port, number, *, is_forwarded):
        super().__init__(daemon=True)
        self.target, self.left, self.is_forwarded = port, number, is_forwarded
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        with suppress(OSError):
            while True:
                self.carry(self.listener.accept()[0])

    def carry(self, client):
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
            back.start()
            while data := client.recv(65_536):
                if b"COMMIT" in data:
                    self.left -= 1
                    if self.left == 0:
                        client.shutdown(socket.SHUT_RDWR)
                        if self.is_forwarded:
                            server.sendall(data)
                            back.join(10)
                        server.shutdown(socket.SHUT_RDWR)
                        return
                server.sendall(data)

    def copy(self, server, client):
        with suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)


@pytest.mark.parametrize("settler", ["cleanup", "undo"])
@pytest.mark.parametrize("is_forwarded", [True, False], ids=["committed", "aborted"])
def test_the_server_is_asked_about_a_commit_without_an_answer(
    server, database, cleanup, undo, connection, archive_folder, old_rows, settler, is_forwarded
):
    # The plan is the first transaction.
    cutter = Cutter(server.parameters["port"], 3, is_forwarded=is_forwarded)
    cutter.start()
    dsn = psycopg.conninfo.make_conninfo(server.dsn(database, OWNER), host="127.0.0.1", port=cutter.port)
    outcome = cleanup("--dsn", dsn, "--only", "whatsapp")
    cutter.listener.close()
    assert outcome.code == 3
    assert "the connection was lost" in outcome.error
    (archive,) = archives_in(archive_folder)
    assert not (archive / "SHA256SUMS").exists()
    wait_for_sessions(server, database)
    left = rows_of(connection)
    if settler == "cleanup":
        assert cleanup("--only", "failed-calls").code == 0
    else:
        assert undo(archive.name).code == 0
    lines = [json.loads(line) for line in (archive / "journal.jsonl").read_text().splitlines()]
    assert list(lines[-1]) == ["committed" if is_forwarded else "aborted"]
    assert check_sums(archive) == ""
    assert left + archived_rows(archive) == old_rows
    assert json.loads((archive / "manifest.json").read_text())["state"] == "killed"


def wait_for_sessions(server, database):
    with server.connect("postgres") as admin:
        until = time.monotonic() + 20
        while admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'iacalls/%%'",
            [database],
        ).fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.01)


def test_rows_of_an_unknown_transaction_stay_in_the_archive(cleanup, undo, connection, archive_folder, old_rows):
    assert cleanup("--only", "whatsapp").code == 0
    (archive,) = archives_in(archive_folder)
    journal = archive / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    (archive / "SHA256SUMS").unlink()  # as after a kill, and before a server was restored from an older copy
    journal.write_text("".join(json.dumps({**line, "xid": str(2**40)}) + "\n" for line in lines if "path" in line))
    outcome = undo(archive.name)
    assert outcome.code == 0, outcome.err
    assert json.loads(journal.read_text().splitlines()[-1]) == {"unknown": str(2**40)}
    assert rows_of(connection) == old_rows


# --- the disk


LIMITED = """import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from iacalls_cli.__main__ import main
sys.argv[1:] = sys.argv[2:]
main()"""


@pytest.mark.parametrize("limit", [3_000, 60_000])
def test_a_file_that_may_not_grow_leaves_that_batch_in_its_table(
    server, database, cleanup, undo, connection, archive_folder, old_rows, limit
):
    add_old_rows(connection, 6000)
    old_rows = rows_of(connection)
    command = ["maintain", "cleanup", "--directory", str(archive_folder), "--pause", "0s", "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *command],
        capture_output=True, text=True, env={**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)},
    )  # fmt: skip
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if "error: " in line]
    assert "cannot write the archive: File too large; what it could not take was not deleted" in error
    kept = check_whole(connection, archive_folder, old_rows)
    assert (sum(kept.values()) > 0) == (limit > 10_000)
    assert bool(archives_in(archive_folder)) == (limit > 10_000)
    assert cleanup().code == 0
    assert sum(check_whole(connection, archive_folder, old_rows).values()) == 4 * 3300
    for archive in archives_in(archive_folder):
        assert undo(archive.name).code == 0
    assert rows_of(connection) == old_rows


@pytest.mark.parametrize("room", [0, 8_192, 24_576, 49_152, 65_536])
def test_a_full_disk_ends_it_with_that_batch_in_its_table(small_disk, iacalls, cleanup, connection, old_rows, room):
    folder = small_disk / "archives"
    folder.mkdir()
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (shutil.disk_usage(small_disk).free - room))
    outcome = iacalls("maintain", "cleanup", "--directory", str(folder), "--pause", "0s")
    if room < 65_536:
        assert outcome.code == 1
    if outcome.code:
        assert "free" in outcome.error
    filler.unlink()
    outcome = iacalls("maintain", "cleanup", "--directory", str(folder))
    assert outcome.code == 0, outcome.err
    assert sum(check_whole(connection, folder, old_rows).values()) == 3300


def test_a_full_disk_that_nobody_foresaw(small_disk, iacalls, cleanup, connection, old_rows, monkeypatch):
    """At every size of room from nothing on: what the next cleanup finds is whole."""
    monkeypatch.setattr("iacalls_cli.operations.maintain.archive.store.Archives.free_bytes", lambda _: 10**9)
    folder = small_disk / "archives"
    folder.mkdir()
    filler = small_disk / "filler"
    codes = []
    for pages in range(0, 40, 3):
        filler.write_bytes(b"x" * max(0, shutil.disk_usage(small_disk).free - pages * 4096))
        outcome = iacalls("maintain", "cleanup", "--directory", str(folder), "--pause", "0s")
        codes.append(outcome.code)
        if outcome.code:
            assert outcome.code == 1
            assert "cannot write the archive: No space left on device" in outcome.error
        filler.unlink()
    assert iacalls("maintain", "cleanup", "--directory", str(folder)).code == 0
    assert sum(check_whole(connection, folder, old_rows).values()) == 3300
    assert codes[0] == 1
    assert codes[-1] == 0


@pytest.mark.parametrize("way", ["removed", "moved", "file"])
def test_a_folder_that_goes_away_keeps_the_rows_in_their_table(
    cleanup, connection, archive_folder, old_rows, monkeypatch, tmp_path, way
):
    left = []

    def take_away():
        (archive,) = archives_in(archive_folder)
        if way == "removed":
            left.append(sum(archived_lines(archive)))
            shutil.rmtree(archive)
        elif way == "moved":
            archive.rename(tmp_path / "elsewhere")
        else:
            next(archive.glob("*.zst")).unlink()

    with monkeypatch.context() as patched:
        act_at(patched, take_away, 2, "before")
        outcome = cleanup("--pause", "0s")
    assert outcome.code == 1
    assert "cannot write the archive: No such file or directory" in outcome.error
    assert "Traceback" not in outcome.err
    gone = old_rows - rows_of(connection)
    # Of the transaction that was under way nothing was deleted.
    first = len(gone)
    assert 0 < first < 1800
    if way == "moved":
        journal = [json.loads(line) for line in (tmp_path / "elsewhere" / "journal.jsonl").read_text().splitlines()]
        assert sum(line["rows"] for line in journal if "rows" in line) == first
    assert cleanup().code == 0


def archived_lines(archive):
    return [json.loads(line).get("rows", 0) for line in (archive / "journal.jsonl").read_text().splitlines()]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_takes_no_files_is_told(cleanup, connection, archive_folder, old_rows):
    archive_folder.mkdir(mode=0o500)
    outcome = cleanup()
    assert outcome.code == 1
    assert f"cannot write to the folder {archive_folder}" in outcome.error
    assert rows_of(connection) == old_rows


@pytest.mark.parametrize("below", [False, True])
def test_a_folder_whose_place_a_file_takes_is_told(cleanup, undo, connection, archive_folder, old_rows, below, iacalls):
    archive_folder.write_text("")
    folder = archive_folder / "deeper" if below else archive_folder
    outcome = iacalls("maintain", "cleanup", "--directory", str(folder))
    assert outcome.code == 1
    assert str(archive_folder) in outcome.error
    assert rows_of(connection) == old_rows
    assert iacalls("maintain", "undo", "--directory", str(folder)).code == 1


def test_bytes_the_disk_changed_are_found_before_their_rows_go(
    cleanup, connection, archive_folder, old_rows, monkeypatch
):
    """What was written is read back before the transaction that deletes it may commit."""
    original, writes = os.pwrite, []

    def change(handle, data, position):
        writes.append(1)
        return original(handle, bytes(data[:-1]) + bytes([data[-1] ^ 1]) if len(writes) == 5 else data, position)

    with monkeypatch.context() as patched:
        patched.setattr("iacalls_cli.operations.maintain.archive.writer.os.pwrite", change)
        outcome = cleanup("--pause", "0s")
    assert outcome.code == 1
    assert "is damaged" in outcome.error
    check_whole(connection, archive_folder, old_rows)
    assert cleanup().code == 0


def test_remains_that_cannot_be_closed_stop_no_other_cleanup(cleanup, connection, archive_folder, old_rows):
    assert cleanup("--only", "whatsapp").code == 0
    (archive,) = archives_in(archive_folder)
    (archive / "SHA256SUMS").unlink()
    next(archive.glob("*.zst")).unlink()
    outcome = cleanup()
    assert outcome.code == 0
    assert f"warning: {archive.name}, which a killed run left, cannot be closed" in outcome.err
    assert len(archives_in(archive_folder)) == 2
