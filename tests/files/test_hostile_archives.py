"""Archives of cleanups in a directory where others may write: nothing outside is touched, one bad one stops no other."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.maintain.archive.format import ArchivedFile, ArchiveManifest, journal_lock, remove_folder
from iacalls_cli.operations.maintain.archive.recovery import verify_archive
from iacalls_cli.operations.maintain.archive.store import Archives, clear_left, read_archive
from iacalls_cli.operations.maintain.archive.writer import ArchiveWriter
from iacalls_cli.safe_files import DamagedFile, ForeignFile
from tests.files.test_hostile_files import DEEP, KINDS, NOBODY, give, no_waiting, replace_by, root_only, setting
from tests.support.old_rows import archives_in

__all__ = ["no_waiting"]
CALLS = ArchivedFile("01-calls.zst", "public", "calls", "deleted", ("id", "text"), ("integer", "text"), ("id",))
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    """Nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def make_archive(directory, number=0, state="finished", rows=b"1\tx\n2\ty\n"):
    """An archive; killed is one whose journal says of no transaction how it ended."""
    name = f"tienda_{START + timedelta(days=number):%Y%m%dT%H%M%SZ}"
    manifest = ArchiveManifest(
        name, {"name": "tienda", "system_identifier": "7"}, "0.1.0", "2026-01-01T00:00:00Z", ({"name": "x"},)
    )
    writer = ArchiveWriter.begin(directory / name, manifest)
    with writer.part(writer.file(1, CALLS)) as part:
        part.write(rows.splitlines(keepends=True))
    writer.seal("100")
    if state != "killed":
        writer.committed()
    writer.finish(state)
    return writer.folder


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "archivos"
    folder.mkdir(mode=0o700)
    for number in range(3):
        make_archive(folder, number)
    return folder


@pytest.fixture
def victim(store):
    return max(store.iterdir())


def states(store):
    return [archive.state for archive in Archives(store).all()]


def sign(folder):
    """Make the checksums anew, as who forged the archive would."""
    names = ["manifest.json", "journal.jsonl", CALLS.path]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def forge(folder, change):
    content = json.loads((folder / "manifest.json").read_text())
    text = change(content)
    data = json.dumps(content).encode() if text is None else text if isinstance(text, bytes) else text.encode()
    (folder / "manifest.json").write_bytes(data)
    sign(folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS"])
def test_no_file_in_an_archive_is_damage_and_the_others_go_on(store, victim, tmp_path, kind, name):
    replace_by(victim / name, kind, tmp_path / "outside")
    assert states(store) == ["damaged", "finished", "finished"]
    assert len(Archives(store).of("tienda", "7")) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["journal.jsonl", CALLS.path])
def test_nothing_else_is_read_in_the_place_of_rows_or_journal(victim, tmp_path, kind, name):
    replace_by(victim / name, kind, tmp_path / "outside")
    with pytest.raises(IacallsError):
        verify_archive(read_archive(victim))


@pytest.mark.parametrize("kind", ["fifo", "link", "dangling link", "socket", "directory"])
def test_the_journal_of_a_killed_run_is_no_other_file(store, tmp_path, kind):
    killed = make_archive(store, 9, "killed")
    (killed / "SHA256SUMS").unlink(missing_ok=True)
    replace_by(killed / "journal.jsonl", kind, tmp_path / "outside")
    assert states(store) == ["damaged", "finished", "finished", "finished"]
    assert not read_archive(killed).is_at_work
    with pytest.raises((IacallsError, OSError)), journal_lock(killed):
        pass


FORGED = [
    setting("database", value="x"),
    setting("database", value=[["name", "tienda"]]),
    setting("database", "name", value=[]),
    setting("files", value={}),
    setting("files", value=[[]]),
    setting("files", 0, "columns", value=["id"]),
    setting("files", 0, "columns", value="id"),
    setting("files", 0, "types", value=[1, 2]),
    setting("files", 0, "key", value=["other"]),
    setting("files", 0, "action", value="drop"),
    setting("files", 0, "schema", value=None),
    setting("rules", value=7),
    setting("rules", value=["x"]),
    setting("started_at", value="2026-01-01"),
    setting("ended_at", value=[]),
    setting("deleted", value="many"),
    setting("deleted", value=10**30),
    setting("changed", value=-1),
    setting("state", value={}),
    setting("format_version", value="1"),
    lambda _: DEEP,
    lambda _: '{"a":' * 200_000,
    lambda _: "[]",
    lambda _: b"\xff",
    lambda content: json.dumps(content).replace('"deleted": 2', '"deleted": NaN'),
]


@pytest.mark.parametrize("change", FORGED, ids=lambda change: change.__name__)
def test_an_archive_of_wrong_types_is_damage_the_others_go_on(store, victim, change):
    forge(victim, change)
    archives = Archives(store).all()
    assert [archive.state for archive in archives] == ["damaged", "finished", "finished"]
    assert archives[0].problem == "manifest.json is not one of this version of iacalls"
    assert len(Archives(store).of("tienda", "7")) == 2


PATHS = ["../../victim", "/etc/passwd", "..", "", "dump/x", "a\0b", "a\n", "x" * 300, "MANIFEST.json", "undone.json"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_closed", [True, False])
def test_a_path_that_leads_elsewhere_is_damage(store, victim, path, is_closed):
    forge(victim, setting("files", 0, "path", value=path))
    if not is_closed:
        (victim / "SHA256SUMS").unlink()
    assert states(store)[0] == "damaged"


@pytest.mark.parametrize("line", ["../../victim", "/etc/passwd", "manifest.json/x", "\x1b[2J", "no digest"])
def test_checksums_of_other_files_are_damage(victim, line):
    with (victim / "SHA256SUMS").open("a") as file:
        file.write(f"{'0' * 64}  {line}\n" if line != "no digest" else "x\n")
    assert read_archive(victim).state == "damaged"


def test_checksums_that_leave_a_file_out_do_not_fit(victim):
    lines = (victim / "SHA256SUMS").read_text().splitlines(keepends=True)
    (victim / "SHA256SUMS").write_text("".join(lines[:-1]))
    with pytest.raises(IacallsError, match="do not fit"):
        verify_archive(read_archive(victim))


@pytest.mark.parametrize(
    "line",
    ["[]", "7", DEEP, '{"path": 1}', '{"committed": []}', '{"a": "1", "b": "2"}', "\udcff",
     '{"path":"01-calls.zst","offset":-1,"bytes":1,"rows":1,"sha256":"' + "0" * 64 + '","xid":"1"}',
     '{"path":"01-calls.zst","offset":0,"bytes":1,"rows":1,"sha256":"' + "0" * 64 + '","xid":"x"}'],
)  # fmt: skip
def test_a_journal_of_other_types_is_damage_in_one_line(store, victim, line):
    with (victim / "journal.jsonl").open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    sign(victim)
    with pytest.raises(IacallsError, match="damaged"):
        verify_archive(read_archive(victim))
    (victim / "SHA256SUMS").unlink()
    assert states(store) == ["damaged", "finished", "finished"]


@pytest.mark.parametrize("rows", [b"1\n", b"1\tx\ty\n"])
def test_rows_with_other_columns_do_not_fit(tmp_path, rows):
    folder = make_archive(tmp_path, rows=rows)
    with pytest.raises(IacallsError, match="do not fit"):
        verify_archive(read_archive(folder))


@pytest.mark.parametrize("text", ["x_20269999T999999Z", "x_20260230T000000Z", "x_00000000T000000Z"])
def test_a_name_without_a_moment_is_no_archive(store, victim, text):
    victim.rename(store / text)
    assert states(store) == ["finished", "finished"]


def test_a_link_is_no_archive_and_stays(store, victim, tmp_path):
    moved = victim.rename(tmp_path / "moved")
    victim.symlink_to(moved)
    archive = Archives(store).all()[0]
    assert (archive.state, archive.problem) == ("damaged", f"{victim.name} is a symbolic link, not a directory")
    with pytest.raises(DamagedFile):
        remove_folder(victim)
    assert victim.is_symlink()
    assert (moved / "manifest.json").exists()


@root_only
def test_an_archive_of_another_user_is_damage_and_not_removed(store, victim):
    give(victim)
    archive = Archives(store).all()[0]
    assert (archive.state, archive.problem) == ("damaged", "it belongs to another user (nobody)")
    with pytest.raises(ForeignFile, match="another user"):
        remove_folder(victim)
    assert victim.exists()


def test_an_archive_that_every_user_may_write_to_is_damage(store, victim):
    victim.chmod(0o777)
    assert states(store)[0] == "damaged"
    with pytest.raises(ForeignFile, match="every user"):
        remove_folder(victim)


@root_only
@pytest.mark.parametrize("kind", ["owner", "mode"])
def test_root_removes_nothing_from_a_directory_others_may_change(store, victim, kind):
    left = store / "tienda_20250101T000000Z.removed"
    left.mkdir()
    os.chown(store, NOBODY, NOBODY) if kind == "owner" else store.chmod(0o777)
    with pytest.raises(ForeignFile):
        Archives(store).make()
    with pytest.raises(ForeignFile):
        remove_folder(victim)
    clear_left(store)
    assert left.exists()
    assert victim.exists()


def test_what_is_left_of_a_removal_goes_and_links_stay(store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (store / "tienda_20250101T000000Z.removed").mkdir()
    (store / "tienda_20250102T000000Z.removed").symlink_to(outside)
    clear_left(store)
    assert [path.name for path in store.glob("*.removed")] == ["tienda_20250102T000000Z.removed"]
    assert outside.is_dir()


# --- with a server


def test_a_forged_archive_harms_no_files_elsewhere(cleanup, archive_folder, tmp_path, old_rows):
    assert cleanup("--only", "whatsapp").code == 0
    (good,) = archives_in(archive_folder)
    victim, cut = tmp_path / "victim", tmp_path / "cut"
    victim.write_text("important")
    cut.write_text("important")
    for number, path in enumerate(["../../victim", str(victim)]):
        forged = shutil.copytree(good, good.with_name(f"{good.name.rsplit('_', 1)[0]}_2020010{number + 1}T000000Z"))
        content = json.loads((forged / "manifest.json").read_text())
        content["files"].append({**content["files"][0], "path": path})
        (forged / "manifest.json").write_text(json.dumps(content))
        (forged / "SHA256SUMS").unlink()
    linked = shutil.copytree(good, good.with_name(f"{good.name.rsplit('_', 1)[0]}_20200103T000000Z"))
    (linked / "SHA256SUMS").unlink()
    (linked / json.loads((linked / "manifest.json").read_text())["files"][0]["path"]).unlink()
    (linked / json.loads((linked / "manifest.json").read_text())["files"][0]["path"]).hardlink_to(cut)
    outcome = cleanup()
    assert outcome.code == 0, outcome.err
    assert victim.read_text() == cut.read_text() == "important"
    assert "second name" in outcome.err


def test_bad_archives_stop_no_list_no_cleanup_and_no_retention(cleanup, undo, archive_folder, old_rows, tmp_path):
    assert cleanup("--only", "whatsapp").code == 0
    (good,) = archives_in(archive_folder)
    stem = good.name.rsplit("_", 1)[0]
    for number, kind in enumerate(["fifo", "link", "socket", "directory", "sparse"]):
        bad = shutil.copytree(good, good.with_name(f"{stem}_2020010{number + 1}T000000Z"))
        replace_by(bad / ("manifest.json" if number % 2 else "SHA256SUMS"), kind, tmp_path / f"outside{number}")
    (archive_folder / f"{stem}_20200109T000000Z").symlink_to(good)
    old = good.rename(good.with_name(f"{stem}_20200201T000000Z"))
    listed = undo()
    assert listed.code == 0
    assert [row["state"] for row in listed.json["data"]].count("damaged") == 6
    outcome = cleanup("--keep-archives", "30d")
    assert outcome.code == 0, outcome.err
    assert not old.exists()
    assert len(archives_in(archive_folder)) >= 6


def test_manifests_of_today_are_read_again(store, victim):
    archive = read_archive(victim)
    assert archive.manifest is not None
    assert archive.manifest.files == (CALLS,)
    assert replace(archive.manifest, files=()).deleted == 2
