"""The archive of a cleanup: what is written can be read, what is closed is whole, and what is old goes only when it may."""

import errno
import json
import os
import shutil
import signal
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.archive import format as archive_module
from iacalls_cli.operations.maintain.archive.format import (
    ArchivedFile,
    ArchiveManifest,
    append_lines,
    kept_parts,
    part_rows,
    read_journal,
)
from iacalls_cli.operations.maintain.archive.recovery import verify_archive
from iacalls_cli.operations.maintain.archive.store import Archives, old_archives, read_archive
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter
from iacalls_cli.operations.maintain.interrupts import held_back
from tests.support.old_rows import archived_rows, archives_in, check_sums, rows_of

NAME = "tienda_20260101T000000Z"
MANIFEST = ArchiveManifest(NAME, {"name": "tienda", "system_identifier": "7"}, "0.1.0", "2026-01-01T00:00:00Z", ())
CALLS = ArchivedFile("01-calls.zst", "public", "calls", "deleted", ("id", "text"), ("integer", "text"), ("id",))
CHANGED = replace(CALLS, path="02-calls.zst", action="changed")


@pytest.fixture
def writer(tmp_path):
    return ArchiveWriter.begin(tmp_path / NAME, MANIFEST)


def write(writer, rows, *abouts, xid="100"):
    """One transaction's rows, the same ones in each file, sealed."""
    for about in abouts or (CALLS,):
        with writer.part(writer.file(1, about)) as part:
            part.write([f"{number}\tx\n".encode() for number in rows])
    writer.seal(xid)


def numbers(folder, about=CALLS):
    return [int(json.loads(line)[0]) for part in kept_parts(folder) if part.path == about.path for line in part_rows(folder, about, part)]  # fmt: skip


def test_a_folder_is_its_owners_and_named_with_manifest_and_lock(writer):
    assert stat.S_IMODE(writer.folder.stat().st_mode) == 0o700
    write(writer, range(3))
    writer.committed()
    assert read_archive(writer.folder).state == "running"
    assert writer.finish("finished")
    for path in writer.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = read_archive(writer.folder)
    assert (found.state, found.manifest.deleted, found.is_closed) == ("finished", 3, True)
    verify_archive(found)


def test_what_was_taken_back_is_not_read_and_its_place_is_reused(writer):
    write(writer, range(3), xid="1")
    writer.committed()
    write(writer, range(3, 9), xid="2")
    writer.aborted()
    with suppress(ZeroDivisionError), writer.part(writer.file(1, CALLS)) as part:
        part.write([b"77\tx\n"])
        raise ZeroDivisionError
    with writer.part(writer.file(1, CHANGED)):
        pass  # no row at all
    write(writer, range(3, 5), CALLS, CHANGED, xid="3")
    writer.committed()
    writer.finish("stopped")
    assert numbers(writer.folder) == [0, 1, 2, 3, 4]
    assert check_sums(writer.folder) == ""
    verify_archive(read_archive(writer.folder))
    assert sum(archived_rows(writer.folder).values()) == 5


def test_files_whose_rows_all_stayed_are_not_kept(writer):
    write(writer, range(3), xid="1")
    writer.aborted()
    with writer.part(writer.file(2, CHANGED)) as part:
        part.write([b"1\tx\n"])
    writer.seal("2")
    writer.committed()
    writer.finish("finished")
    assert sorted(path.name for path in writer.folder.iterdir()) == [
        "02-calls.zst",
        "SHA256SUMS",
        "journal.jsonl",
        "manifest.json",
    ]
    assert check_sums(writer.folder) == ""


def test_an_archive_without_rows_is_no_archive(writer, tmp_path):
    write(writer, range(3))
    writer.aborted()
    assert not writer.finish("failed")
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_knows_the_end_of_is_left_open(writer):
    write(writer, range(3))
    assert writer.finish("failed")
    found = read_archive(writer.folder)
    assert (found.state, found.is_closed, found.manifest.deleted) == ("killed", False, 3)
    assert not (writer.folder / "SHA256SUMS").exists()


def test_a_journal_takes_lines_whole_or_not_at_all(tmp_path, monkeypatch):
    """A full disk takes a part of what it is given and says nothing."""
    path = tmp_path / "journal"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    append_lines(handle, {"a": 1}, is_synced=True)
    original, sizes = os.write, [7, 5]

    def write_some(number, data):
        if not sizes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(number, bytes(data)[: sizes.pop()])

    monkeypatch.setattr(archive_module.os, "write", write_some)
    with pytest.raises(OSError, match="No space"):
        append_lines(handle, {"b": "x" * 100}, {"c": 2}, is_synced=True)
    assert path.read_text() == '{"a": 1}\n'
    sizes[:] = [1000, 3, 2]
    append_lines(handle, {"b": 2}, {"c": 3}, is_synced=False)
    assert path.read_text() == '{"a": 1}\n{"b": 2}\n{"c": 3}\n'


def test_a_seal_the_disk_refuses_lets_nothing_commit_or_stay(writer, monkeypatch):
    write(writer, range(3), xid="1")
    writer.committed()
    for name in ("write", "fsync"):
        with writer.part(writer.file(1, CALLS)) as part:
            part.write([b"9\tx\n"])
        with monkeypatch.context() as patched:
            patched.setattr(archive_module.os, name, full)
            with pytest.raises(OSError, match="No space"):
                writer.seal("2")
        writer.aborted()
    writer.finish("failed")
    assert numbers(writer.folder) == [0, 1, 2]
    assert len(read_journal(writer.folder)[0]) == 1
    assert check_sums(writer.folder) == ""


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_notes_the_disk_refused_are_made_up_for_or_it_stays_open(writer, monkeypatch):
    write(writer, range(3), xid="1")
    with monkeypatch.context() as patched:
        patched.setattr(archive_module.os, "write", full)
        writer.aborted()
    write(writer, range(5, 7), xid="2")
    writer.committed()
    assert read_journal(writer.folder)[1] == {"1": "aborted", "2": "committed"}
    write(writer, range(7, 9), xid="3")
    with monkeypatch.context() as patched:
        patched.setattr(archive_module.os, "write", full)
        writer.aborted()
        with pytest.raises(OSError, match="No space"):
            writer.finish("failed")
    assert not read_archive(writer.folder).is_closed


def test_what_follows_the_journals_last_line_break_never_was(writer):
    write(writer, range(3), xid="1")
    with (writer.folder / "journal.jsonl").open("a") as journal:
        journal.write('{"path": "01-calls.zst", "off')
    assert len(kept_parts(writer.folder)) == 1


def interrupt(number, times, steps, error=None):
    """What happens in a block that holds interrupts back."""
    with held_back():
        for _ in range(times):
            os.kill(os.getpid(), number)
        steps.append("the end of the block")
        if error:
            raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_interrupt_waits_and_a_second_does_not(number):
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # The last: an error does not swallow it.
        for times, error, reached in ((1, None, 1), (2, None, 0), (1, ValueError(), 1)):
            steps = []
            with pytest.raises(KeyboardInterrupt):
                interrupt(number, times, steps, error)
            assert len(steps) == reached
        with held_back():
            pass
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


# --- which archives go


@pytest.fixture
def make_archive(tmp_path):
    """An archive of some age in a folder."""

    def make(days, state="finished", database="tienda", server="7"):
        moment = datetime.now(UTC) - timedelta(days=days)
        name = f"{database}_{moment:%Y%m%dT%H%M%SZ}"
        manifest = replace(MANIFEST, id=name, database={"name": database, "system_identifier": server})
        writer = ArchiveWriter.begin(tmp_path / name, manifest)
        write(writer, range(3))
        if state == "running":
            return writer
        if state != "killed":
            writer.committed()
        writer.finish(state)
        return writer.folder

    return make


def test_only_closed_archives_of_the_same_database_are_old(make_archive, tmp_path):
    old, young = make_archive(40), make_archive(20)
    running = make_archive(50, "running")
    make_archive(60, "killed")
    make_archive(70, database="otra")
    make_archive(80, server="8")
    broken = make_archive(90)
    (broken / "manifest.json").write_text("{}")
    mine = Archives(tmp_path).of("tienda", "7")
    assert {one.folder for one in old_archives(mine, timedelta(days=30), datetime.now(UTC))} == {old}
    assert {one.folder for one in old_archives(mine, timedelta(0), datetime.now(UTC))} == {old, young}
    assert running.folder in {one.folder for one in mine}


def test_the_newest_is_the_databases_and_a_prefix_must_fit_one(make_archive, tmp_path):
    first, second, elsewhere = make_archive(2), make_archive(1), make_archive(0, server="8")
    archives, own = Archives(tmp_path), ("tienda", "7")
    assert archives.find("newest", *own).folder == second
    assert archives.find("newest", "tienda", "8").folder == elsewhere
    assert archives.find(first.name[:-2], *own).folder == first
    assert archives.find("newest", *own, datetime.now(UTC)).folder == second
    ahead = make_archive(-2)
    with pytest.raises(IacallsError, match=f"{ahead.name} is dated in the future"):
        archives.find("newest", *own, datetime.now(UTC))
    assert archives.find(second.name, *own, datetime.now(UTC)).folder == second
    for name in ("tienda_", "", "x"):
        with pytest.raises(IacallsError):
            archives.find(name, *own)


@pytest.fixture
def age(archive_folder):
    """Make an archive older, as its name and its manifest tell."""

    def change(archive, days):
        moment = datetime.now(UTC) - timedelta(days=days)
        older = archive.with_name(f"{archive.name.rsplit('_', 1)[0]}_{moment:%Y%m%dT%H%M%SZ}")
        return archive.rename(older)

    return change


def test_old_archives_go_after_a_cleanup_that_succeeded(cleanup, archive_folder, age, old_rows, connection, iacalls):
    assert cleanup("--only", "whatsapp").code == 0
    old = age(archives_in(archive_folder)[0], 40)
    other = shutil.copytree(old, old.with_name(old.name.replace("test_", "otra_")))
    change_manifest(other, database={"name": "otra", "system_identifier": "7"})
    planned = cleanup("--keep-archives", "30d", "--dry-run")
    assert "plan: remove 1 archive older than 30d" in planned.err
    assert old.exists()
    outcome = cleanup("--keep-archives", "30d")
    assert outcome.code == 0, outcome.err
    assert not old.exists()
    assert other.exists()
    assert len(archives_in(archive_folder)) == 2
    # Not even where next to nothing is to be kept does the one go that was just made.
    (recent,) = set(archives_in(archive_folder)) - {other}
    age(recent, 0.1)
    connection.execute("INSERT INTO whatsapp_conversations (phone_number, created_at) VALUES ('1', '2020-01-01')")
    assert cleanup("--keep-archives", "1h").code == 0
    left = [path for path in archives_in(archive_folder) if path != other]
    assert len(left) == 1
    assert sum(archived_rows(left[0]).values()) == 1


def change_manifest(archive, **changes):
    """Change what an archive says of itself, with its checksum."""
    manifest = json.loads((archive / "manifest.json").read_text())
    (archive / "SHA256SUMS").unlink()
    (archive / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    read = read_archive(archive)
    archive_module.close_archive(archive, read.manifest)


def test_an_archive_that_stays_is_told_and_the_cleanup_succeeds(cleanup, archive_folder, age, old_rows, monkeypatch):
    assert cleanup("--only", "whatsapp").code == 0
    old = age(archives_in(archive_folder)[0], 40)
    (archive_folder / f"{old.name}.removed" / "x").mkdir(parents=True)
    monkeypatch.setattr("iacalls_cli.operations.maintain.cleanup.run.clear_left", lambda _: None)
    outcome = cleanup("--keep-archives", "30d")
    assert outcome.code == 0
    assert f"warning: {old.name} could not be removed" in outcome.err
    assert outcome.json["data"][1]["deleted"] == 1500


def test_no_archive_goes_with_a_cleanup_that_failed(cleanup, archive_folder, age, old_rows, monkeypatch):
    assert cleanup("--only", "whatsapp").code == 0
    old = age(archives_in(archive_folder)[0], 40)
    with monkeypatch.context() as patched:
        patched.setattr(ArchiveWriter, "seal", full)
        assert cleanup("--keep-archives", "30d").code == 1
    assert old.exists()


def test_only_old_remains_of_killed_commands_are_removed(cleanup, archive_folder, old_rows):
    archive_folder.mkdir()
    kept = ["notes", "x.partial", "x.removed", f"{NAME}.bak", f"{NAME}.partial"]
    gone = [f"{NAME}.removed", "otra_20260101T000000Z.partial"]
    for name in kept + gone:
        (archive_folder / name).mkdir()
        (archive_folder / name / "file").write_text("x")
    (archive_folder / "file_20260101T000000Z.removed").write_text("no folder")
    hours_ago = datetime.now(UTC).timestamp() - 7200
    os.utime(archive_folder / gone[1], (hours_ago, hours_ago))
    assert cleanup("--dry-run").code == 0
    assert all((archive_folder / name).exists() for name in kept + gone)
    assert cleanup().code == 0
    assert [name for name in kept + gone if (archive_folder / name).exists()] == kept
    assert (archive_folder / "file_20260101T000000Z.removed").exists()


def test_a_cleanup_that_finds_nothing_makes_no_folder(cleanup, archive_folder, connection):
    assert cleanup().code == 0
    assert not archive_folder.exists()


def test_two_runs_in_one_second_have_two_archives(cleanup, archive_folder, old_rows, connection):
    for rule in ("whatsapp", "failed-calls"):
        assert cleanup("--only", rule, "--pause", "0s").code == 0
    assert len(archives_in(archive_folder)) == 2
    kept = sum(map(archived_rows, archives_in(archive_folder)), Counter())
    assert rows_of(connection) + kept == old_rows
