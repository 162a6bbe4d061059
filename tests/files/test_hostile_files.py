"""Backups and archives in directories where others may write: damaged in one line, and never the end of the others."""

import errno
import hashlib
import json
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from iacalls_cli import safe_files
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup import lock as lock_module
from iacalls_cli.operations.backup.manifest import read_manifest
from iacalls_cli.operations.backup.store import Store
from iacalls_cli.operations.files import write_file
from iacalls_cli.safe_files import DamagedFile, ForeignFile, open_folder
from tests.support.backup_folders import NOON, days, make_folder

NOBODY = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
DEEP = "[" * 200_000
ALARM_SECONDS = 30


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """Nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(autouse=True)
def no_waiting():
    """A command that waits for a FIFO fails the test, and does not stop the suite."""
    import signal

    def fail(*_):
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(ALARM_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def store(tmp_path):
    """Three good backups; the tests harm the latest."""
    folder = tmp_path / "store"
    for moment in days(3):
        make_folder(folder, moment)
    folder.chmod(0o700)
    return folder


@pytest.fixture
def victim(store):
    return store / f"shop_{NOON:%Y%m%dT%H%M%SZ}"


@pytest.fixture
def backup(iacalls, store):
    def run(*arguments):
        outcome = iacalls("backup", *arguments, "--directory", str(store), "-o", "json")
        assert "Traceback" not in outcome.err
        assert "internal error" not in outcome.err
        return outcome

    return run


def replace_by(path, kind, outside):
    """Put something else into a file's place."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        outside.write_text("x")
        path.symlink_to(outside)
    elif kind == "dangling link":
        path.symlink_to(outside)
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            before = Path.cwd()
            os.chdir(path.parent)
            server.bind(path.name)
            os.chdir(before)
    elif kind == "device":
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(30 << 30)


KINDS = ["fifo", "link", "dangling link", "directory", "socket", "sparse", pytest.param("device", marks=root_only)]


def states(outcome):
    return {row["id"]: row["state"] for row in outcome.json["data"]}


# --- what is no regular file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "proof.json", "dump.pgdump"])
def test_no_file_in_a_backup_is_damage_and_the_others_go_on(backup, store, victim, tmp_path, kind, name):
    outside = tmp_path / "outside"
    replace_by(victim / name, kind, outside)
    listed = states(backup("list"))
    assert len(listed) == 3
    # A record that was changed is made anew by the next check; it says nothing of the dump.
    assert listed[victim.name] == {"proof.json": "created", "dump.pgdump": "verified"}.get(name, "damaged")
    assert [line["state"] for line in backup("check").json["data"]].count("problem") >= 1
    decided = {row["id"]: row["verdict"] for row in backup("prune", "--dry-run", "--min-keep", "1").json["data"]}
    assert decided[victim.name] == "leave"
    assert victim.exists()
    if kind == "link":
        assert outside.read_text() == "x"


@pytest.mark.parametrize("kind", KINDS)
def test_verify_reads_no_dump_that_is_no_file(backup, victim, tmp_path, kind, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.backup.verify.read_whole", lambda *_: None)
    replace_by(victim / "dump.pgdump", kind, tmp_path / "outside")
    outcome = backup("verify", "--all")
    assert outcome.code == 4
    assert states(outcome)[victim.name] == "damaged"
    assert sorted(states(outcome).values()) == ["damaged", "verified", "verified"]


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "device"])
def test_restore_of_a_backup_that_is_none_is_refused(backup, victim, tmp_path, kind):
    if kind == "device" and os.geteuid() != 0:
        pytest.skip("needs root")
    replace_by(victim / "manifest.json", kind, tmp_path / "outside")
    outcome = backup("restore", victim.name, "--into", "x", "--dsn", "host=127.0.0.1 port=1")
    assert outcome.code == 1
    assert "is damaged" in outcome.error


@pytest.mark.parametrize("kind", ["fifo", "link", "socket"])
def test_a_dump_directory_with_what_is_no_file_is_refused(iacalls, tmp_path, kind):
    dump = tmp_path / "dump"
    dump.mkdir()
    (dump / "toc.dat").write_bytes(b"PGDMP\x01\x0e\x00")
    (dump / "1.dat").write_text("x")
    replace_by(dump / "1.dat", kind, tmp_path / "outside")
    outcome = iacalls("backup", "restore", str(dump), "--into", "x", "--dsn", "host=127.0.0.1 port=1")
    assert outcome.code == 2
    assert "1.dat is" in outcome.error


# --- what JSON can hold


def forge(folder, change):
    """Change a manifest, and everything that is checked with it."""
    content = json.loads((folder / "manifest.json").read_text())
    text = change(content)
    text = json.dumps(content) if text is None else text
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    (folder / "manifest.json").write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  manifest.json"]
    files = content["files"] if isinstance(content["files"], list) else []
    lines += [f"{file.get('sha256')}  {file.get('path')}" for file in files if isinstance(file, dict)]
    (folder / "SHA256SUMS").write_bytes("".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass"))


def setting(*path, value):
    def change(content):
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    change.__name__ = f"{'.'.join(map(str, path))}={str(value)[:30]!r}"
    return change


FORGED = [
    setting("database", value="x"),
    setting("database", value=[]),
    setting("database", "name", value=7),
    setting("database", "system_identifier", value=None),
    setting("database", "server_version", value="eighteen"),
    setting("database", "owner", value={"a": 1}),
    setting("client", value="x.y"),
    setting("client", value=18),
    setting("client", value="9" * 5000),
    setting("snapshot_at", value="2026-03-15T12:00:00"),
    setting("snapshot_at", value="0001-01-01T00:00:00+23:59"),
    setting("snapshot_at", value="soon"),
    setting("started_at", value=7),
    setting("tables", value={}),
    setting("tables", value=[[]]),
    setting("tables", value=[{"schema": "a", "name": "b", "rows": "many", "bytes": 1}]),
    setting("tables", value=[{"schema": "a", "name": "b", "rows": -1, "bytes": 1}]),
    setting("tables", value=[{"schema": "a", "name": "b", "rows": 1.5, "bytes": True}]),
    setting("tables", value=[{"schema": "a", "name": "b", "rows": 10**30, "bytes": 1}]),
    setting("tables", value=[{"schema": "a", "name": "b", "rows": float("nan"), "bytes": 1}]),
    setting("tables", value=[{"schema": "\ud800", "name": "b", "rows": 1, "bytes": 1}]),
    setting("large_objects", value=float("inf")),
    setting("reports", value="all"),
    setting("reports", value=[1]),
    setting("files", value="x"),
    setting("files", value=[1]),
    setting("files", 0, "bytes", value="10"),
    setting("files", 0, "sha256", value="z" * 64),
    setting("format", value="rar"),
    setting("contents", value="half"),
    setting("format_version", value=True),
    setting("format_version", value=2),
    setting("migration_head", value=[]),
    setting("not_included", value=None),
    lambda _: "[]",
    lambda _: "null",
    lambda _: DEEP,
    lambda _: '{"a":' * 200_000,
    lambda _: b"\xff\xfe",
    lambda content: json.dumps(content).replace('"large_objects": 0', f'"large_objects": {"9" * 5000}'),
]


@pytest.mark.parametrize("change", FORGED, ids=lambda change: change.__name__)
def test_a_manifest_of_wrong_types_is_damage_the_others_go_on(backup, victim, change):
    forge(victim, change)
    listed = backup("list")
    assert sorted(states(listed).values()) == ["damaged", "verified", "verified"]
    finding = next(row["finding"] for row in listed.json["data"] if row["id"] == victim.name)
    assert finding == "manifest.json is not one of this version of iacalls"
    assert next(line["check"] for line in backup("check").json["data"]) == "damage"
    decided = {row["id"]: row["verdict"] for row in backup("prune", "--dry-run").json["data"]}
    assert decided[victim.name] == "leave"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        DEEP,
        '{"proof": []}',
        '{"proof": {"manifest": []}}',
        '{"proof": {"manifest": "", "damage": 7}}',
        "\0",
    ],
)
def test_a_proof_of_other_types_was_changed(backup, victim, text):
    (victim / "proof.json").write_text(text)
    row = next(row for row in backup("list").json["data"] if row["id"] == victim.name)
    assert row["finding"] == "proof.json was changed"
    assert backup("check", "--max-proven-age", "1d").code == 4


@pytest.mark.parametrize("when", ["2026-03-15T12:00:00", "yesterday", "0001-01-01T00:00:00+23:59"])
def test_a_proof_of_a_time_that_is_none_was_changed(backup, victim, when):
    from iacalls_cli.operations.backup.proof import Proof, manifest_digest, render

    (victim / "proof.json").write_text(render(Proof(manifest_digest(victim), verified_at=when, proven_at=when)))
    row = next(row for row in backup("list").json["data"] if row["id"] == victim.name)
    assert row["finding"] == "proof.json was changed"
    assert backup("check", "--max-proven-age", "1d").code == 4


@pytest.mark.parametrize("text", ["[[1]]", "{}", DEEP, '[["a","b","c"]]', "7"])
def test_a_catalogue_of_other_types_is_one_line(victim, text):
    from iacalls_cli.operations.backup.catalog import load_catalog

    (victim / "catalogue.json").write_text(text)
    with pytest.raises(IacallsError, match=r"catalogue\.json is damaged"):
        load_catalog(victim)


# --- what leads out of the directory

PATHS = [
    "../victim", "/etc/passwd", "..", "", ".", "a/../b", "dump/../../x", "dump/a/b", "other/x", "a\0b", "a\nb", "x" * 300,
    "manifest.json", "Proof.JSON", "SHA256sums",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_leads_elsewhere_is_damage(backup, victim, path):
    forge(victim, setting("files", 0, "path", value=path))
    assert states(backup("list"))[victim.name] == "damaged"


def test_names_that_differ_in_case_alone_are_damage(victim):
    def double(content):
        content["files"].append({**content["files"][0], "path": "DUMP.pgdump"})

    forge(victim, double)
    with pytest.raises(IacallsError):
        read_manifest(victim)


@pytest.mark.parametrize("name", ["proof.json.partial", "manifest.json.partial", "SHA256SUMS.partial"])
@pytest.mark.parametrize("kind", ["link", "hard link", "fifo"])
def test_nothing_is_written_through_what_has_the_name(victim, tmp_path, name, kind):
    outside = tmp_path / "important"
    outside.write_text("important")
    if kind == "link":
        (victim / name).symlink_to(outside)
    elif kind == "hard link":
        (victim / name).hardlink_to(outside)
    else:
        os.mkfifo(victim / name)
    write_file(victim / name.removesuffix(".partial"), "new")
    assert outside.read_text() == "important"
    assert (victim / name.removesuffix(".partial")).read_text() == "new"
    assert not os.path.lexists(victim / name)


@pytest.mark.parametrize("target", ["backup", "elsewhere", "nowhere"])
def test_a_link_is_no_backup(backup, store, tmp_path, target):
    oldest, *others = sorted(store.iterdir())
    places = {"backup": others[0], "elsewhere": tmp_path / "copy", "nowhere": tmp_path / "none"}
    shutil.copytree(others[0], tmp_path / "copy")
    shutil.rmtree(oldest)
    oldest.symlink_to(places[target])
    listed = {row["id"]: row for row in backup("list").json["data"]}
    assert listed[oldest.name]["state"] == "damaged"
    assert listed[oldest.name]["finding"] == f"{oldest.name} is a symbolic link, not a directory"
    decided = {row["id"]: row["verdict"] for row in backup("prune", "--yes", "--min-keep", "1").json["data"]}
    assert decided[oldest.name] == "leave"
    assert (tmp_path / "copy" / "manifest.json").exists()
    assert os.path.lexists(oldest)


def test_a_removal_leaves_what_links_in_a_backup_point_to(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    backup = Store(store).backups()[0]
    (backup.folder / "link").symlink_to(outside)
    Store(store).remove(backup)
    assert (outside / "file").read_text() == "x"
    assert not backup.folder.exists()


def test_a_link_in_the_place_of_a_backup_is_not_removed(store, tmp_path):
    backup = Store(store).backups()[0]
    moved = backup.folder.rename(tmp_path / "moved")
    backup.folder.symlink_to(moved)
    with pytest.raises(DamagedFile, match="symbolic link"):
        Store(store).remove(backup)
    assert (moved / "manifest.json").exists()


def test_a_link_that_is_named_is_what_it_points_to(backup, store, victim, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(victim)
    outcome = backup("restore", str(link), "--into", "x", "--dsn", "host=127.0.0.1 port=1")
    assert outcome.code == 3  # it came as far as the server


def test_leftovers_are_removed_and_links_with_their_names_stay(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (store / "shop_20200101T000000Z.partial").mkdir()
    (store / "shop_20200102T000000Z.partial").symlink_to(outside)
    Store(store).remove_leftovers()
    assert outside.is_dir()
    assert [path.name for path in store.glob("*.partial")] == ["shop_20200102T000000Z.partial"]


# --- other users


def give(folder, uid=NOBODY):
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


@root_only
def test_another_users_backup_is_listed_and_never_touched(backup, store, victim, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.backup.verify.read_whole", lambda *_: None)
    give(victim)
    before = (victim / "proof.json").read_bytes()
    listed = {row["id"]: row for row in backup("list").json["data"]}
    assert listed[victim.name]["state"] == "foreign"
    assert listed[victim.name]["finding"] == "it belongs to another user (nobody)"
    assert {row["state"] for name, row in listed.items() if name != victim.name} == {"verified"}
    assert "owner" in [line["check"] for line in backup("check").json["data"]]
    decided = {row["id"]: row for row in backup("prune", "--dry-run", "--min-keep", "1").json["data"]}
    assert decided[victim.name]["verdict"] == "leave"
    assert "another user" in decided[victim.name]["reason"]
    assert backup("verify", victim.name).code == 4
    assert (victim / "proof.json").read_bytes() == before
    assert Store(store).find("newest").id != victim.name
    with pytest.raises(ForeignFile, match="belongs to another user"):
        Store(store).remove(Store(store).find(victim.name))
    assert victim.exists()


@root_only
def test_if_all_backups_are_of_another_user_one_must_be_named(store):
    for folder in store.iterdir():
        give(folder)
    with pytest.raises(IacallsError, match="are of another user"):
        Store(store).find("shop")


def test_a_backup_that_every_user_may_write_to_is_foreign(backup, victim):
    victim.chmod(0o777)
    row = next(row for row in backup("list").json["data"] if row["id"] == victim.name)
    assert (row["state"], row["finding"]) == ("foreign", "every user of this machine may write to it")
    with pytest.raises(ForeignFile, match="every user"):
        write_file(victim / "proof.json", "x")


def test_a_restore_test_that_cannot_be_recorded_is_refused_first(backup, victim):
    victim.chmod(0o777)
    outcome = backup("rehearse", victim.name)
    assert outcome.code == 2
    assert "could not be recorded: every user of this machine may write to it" in outcome.error


@root_only
@pytest.mark.parametrize("kind", ["owner", "mode"])
def test_root_does_not_work_in_a_store_that_others_may_change(store, kind):
    backup = Store(store).backups()[-1]
    os.chown(store, NOBODY, NOBODY) if kind == "owner" else store.chmod(0o777)
    assert backup.state == "verified"
    with pytest.raises(ForeignFile):
        Store(store).make()
    with pytest.raises(ForeignFile):
        Store(store).remove(backup)
    (store / "shop_20200101T000000Z.partial").mkdir()
    Store(store).remove_leftovers()
    assert (store / "shop_20200101T000000Z.partial").exists()
    assert backup.folder.exists()


def test_a_sticky_directory_will_do(store):
    store.chmod(0o1777)
    Store(store).make()
    backup = Store(store).backups()[-1]
    Store(store).remove(backup)
    assert not backup.folder.exists()


@root_only
def test_who_called_sudo_is_no_other_user(backup, victim, monkeypatch):
    give(victim)
    monkeypatch.setenv("SUDO_UID", str(NOBODY))
    assert states(backup("list"))[victim.name] == "verified"


# --- an exchange between the look and the use


def test_a_directory_is_opened_once(store, victim, tmp_path):
    with open_folder(victim) as folder:
        manifest = folder.read("manifest.json", 1 << 20)
        victim.rename(tmp_path / "away")
        victim.symlink_to(tmp_path)
        folder.write("proof.json", "new")
        assert folder.read("manifest.json", 1 << 20) == manifest
    assert (tmp_path / "away" / "proof.json").read_text() == "new"
    assert not (tmp_path / "proof.json").exists()


@pytest.mark.parametrize("kind", ["fifo", "link", "socket"])
def test_a_file_exchanged_after_the_look_is_not_read(victim, tmp_path, monkeypatch, kind):
    look = safe_files.require_regular
    calls = []

    def exchange(status, path):
        look(status, path)
        calls.append(path)
        if len(calls) == 1:
            replace_by(victim / path, kind, tmp_path / "outside")

    monkeypatch.setattr(safe_files, "require_regular", exchange)
    with open_folder(victim) as folder, pytest.raises(DamagedFile, match="not a regular file"):
        folder.read("manifest.json", 1 << 20)


def test_a_backup_exchanged_in_the_removal_is_left(store, victim, tmp_path, monkeypatch):
    other = shutil.copytree(victim, tmp_path / "other")
    rename = os.rename

    def exchange(source, target, **handles):
        victim.rename(tmp_path / "away")
        other.rename(victim)
        rename(source, target, **handles)

    backup = Store(store).find(victim.name)
    monkeypatch.setattr(os, "rename", exchange)
    # Path.rename is os.rename, and both are meant to go on.
    monkeypatch.setattr(Path, "rename", lambda self, target: (rename(self, target), Path(target))[1])
    with pytest.raises(ForeignFile, match="was exchanged"):
        Store(store).remove(backup)
    assert (store / f"{victim.name}.removed.partial" / "manifest.json").exists()


def test_a_file_that_grows_past_its_limit_is_damage(victim):
    with open_folder(victim) as folder, pytest.raises(DamagedFile, match="too large"):
        folder.read("manifest.json", 10)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EPERM])
def test_a_file_that_cannot_be_read_stops_no_other(backup, victim, monkeypatch, number):
    from iacalls_cli.operations.backup import verify

    hash_file = verify.hash_file

    def fail(folder, path):
        if folder.name == victim.name:
            raise OSError(number, os.strerror(number), path)
        return hash_file(folder, path)

    monkeypatch.setattr(verify, "hash_file", fail)
    monkeypatch.setattr(verify, "read_whole", lambda *_: None)
    outcome = backup("verify", "--all")
    assert outcome.code == 4
    assert sorted(states(outcome).values()) == ["damaged", "verified", "verified"]
    monkeypatch.setattr(verify, "hash_file", hash_file)
    assert backup("verify", "--all").code == 0


def test_deep_and_closed_directories_in_a_backup_are_one_entry(victim):
    deep = victim / "dump"
    for _ in range(100):
        deep /= "d" * 20
    try:
        deep.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes no path so long")
    (victim / "empty").mkdir()
    with open_folder(victim) as folder:
        extra = set(folder.files()) - {"manifest.json", "SHA256SUMS", "proof.json", "dump.pgdump"}
    assert extra == {f"dump/{'d' * 20}"}


def test_a_full_disk_leaves_the_file_as_it_was(victim, monkeypatch):
    before = (victim / "proof.json").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(victim / "proof.json", "new")
    assert (victim / "proof.json").read_bytes() == before
    assert not (victim / "proof.json.partial").exists()


# --- the lock of jobs


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "socket", "directory", "hard link"])
def test_a_lock_that_is_no_file_is_refused(tmp_path, kind):
    with lock_module.only_job("backup prune", "7", "shop"):
        pass
    (lock,) = (tmp_path / "data" / "iacalls" / "locks").iterdir()
    outside = tmp_path / "outside"
    if kind == "hard link":
        outside.hardlink_to(lock)
    else:
        replace_by(lock, kind, outside)
    with pytest.raises(IacallsError) as caught, lock_module.only_job("backup prune", "7", "shop"):
        pass
    assert str(lock) in caught.value.message
    assert not outside.exists() or outside.read_text() in ("x", lock.read_text())


@root_only
def test_a_lock_of_another_user_is_refused(tmp_path):
    with lock_module.only_job("backup prune", "7", "shop"):
        pass
    (lock,) = (tmp_path / "data" / "iacalls" / "locks").iterdir()
    os.chown(lock, NOBODY, NOBODY)
    with pytest.raises(ForeignFile, match="belongs to another user"), lock_module.only_job("backup prune", "7", "shop"):
        pass


@pytest.mark.parametrize(
    "text", ["", "[]", DEEP, '{"job": 1}', '{"job":"a","pid":NaN,"user":"b","since":"c"}', "\0" * 99]
)
def test_a_lock_that_says_nothing_is_still_a_lock(tmp_path, text):
    with lock_module.only_job("backup prune", "7", "shop"):
        (lock,) = (tmp_path / "data" / "iacalls" / "locks").iterdir()
        lock.write_text(text)
        with pytest.raises(IacallsError, match="it has just begun"), lock_module.only_job("backup prune", "7", "shop"):
            pass
