"""`iacalls backup verify` and `list`: whatever happened to a backup's files is found, and a good one is left good."""

import errno
import os
import random
import shutil
import subprocess

import pytest

from iacalls_cli.database import programs
from iacalls_cli.database.programs import choose_programs
from iacalls_cli.operations.backup import verify as checking
from iacalls_cli.operations.backup.manifest import write_manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, write_proof
from iacalls_cli.operations.backup.store import read_backup
from tests.support.backup_folders import left_in

WAYS = [(form, compress) for form in ("custom", "directory", "plain") for compress in ("zstd", "gzip", "none")]
BY_US = ("manifest.json", "SHA256SUMS", "proof.json", "catalogue.json")


@pytest.fixture
def verify(iacalls, backup_folder):
    """Run `backup verify`; returns the outcome."""
    return lambda *words: iacalls("backup", "verify", "--directory", str(backup_folder), "-o", "json", *words)


@pytest.fixture
def listed(iacalls, backup_folder):
    """The rows of `backup list`, by id."""

    def read():
        outcome = iacalls("backup", "list", "--directory", str(backup_folder), "-o", "json")
        assert outcome.code == 0, outcome.err
        return {row["id"]: row for row in outcome.json["data"]}

    return read


def reads(server, path):
    """Whether pg_restore reads a whole archive without complaint."""
    pg_restore = choose_programs(server.major).folder / "pg_restore"
    return subprocess.run([pg_restore, "--file=/dev/null", path], capture_output=True).returncode == 0


def flip(path, offset, mask=1):
    content = bytearray(path.read_bytes())
    content[offset] ^= mask
    path.write_bytes(content)


def test_half_an_archive_has_a_whole_list_and_is_found(server, large_database, use, new_backup, verify):
    use(large_database)
    made, _ = new_backup("--compress", "none")
    archive = made / "dump.pgdump"
    os.truncate(archive, archive.stat().st_size // 2)
    pg_restore = choose_programs(server.major).folder / "pg_restore"
    assert subprocess.run([pg_restore, "--list", archive], capture_output=True).returncode == 0
    outcome = verify()
    assert outcome.code == 4
    assert "dump.pgdump has" in outcome.json["data"][0]["finding"]


def test_a_flipped_bit_that_pg_restore_reads_over_is_found(server, large_database, use, new_backup, verify):
    use(large_database)
    made, _ = new_backup("--compress", "none")
    archive = made / "dump.pgdump"
    flip(archive, archive.stat().st_size // 2)  # in a row's text
    assert reads(server, archive)
    outcome = verify()
    assert outcome.code == 4
    assert outcome.json["data"][0]["finding"] == "dump.pgdump was changed: its checksum differs"


@pytest.mark.parametrize(("form", "compress"), WAYS)
def test_an_archive_that_ends_early_is_found_by_reading_too(filled_database, use, new_backup, verify, form, compress):
    """As from a pg_dump that was cut off before anything was summed up: the checksums fit it."""
    use(filled_database)
    made, manifest = new_backup("--format", form, "--compress", compress)
    largest = max(
        (file for file in manifest.files if not file.path.endswith(("catalogue.json", "toc.dat"))),
        key=lambda file: file.bytes,
    )
    os.truncate(made / largest.path, largest.bytes * 2 // 3)
    files = tuple(checking.hash_file(made, file.path) for file in manifest.files)
    write_manifest(made, checking.replace(manifest, files=files))
    write_proof(made, Proof(manifest_digest(made)))
    outcome = verify()
    assert outcome.code == 4
    assert outcome.json["data"][0]["state"] == "damaged"


def damage(chance, backup):
    """Change one byte of one of a backup's files, cut it short or remove it; returns what was done."""
    files = sorted(path for path in backup.rglob("*") if path.is_file())
    # As often one of the small files of ours as one of the archive's.
    own = [path for path in files if path.name in BY_US]
    path = chance.choice(own if chance.random() < 0.4 else files)
    size, way = path.stat().st_size, chance.choice(["byte", "byte", "cut", "remove"])
    if way == "byte" and size:
        place = chance.randrange(size)
        flip(path, place, chance.randrange(1, 256))
        return f"{path.name}: byte {place}"
    if way == "cut" and size:
        left = chance.choice([0, size - 1, chance.randrange(size)])
        os.truncate(path, left)
        return f"{path.name}: cut to {left} of {size}"
    path.unlink()
    return f"{path.name}: removed"


def damage_many(new_backup, verify, backup_folder, tmp_path, times, seed):
    """Damage copies of backups of all kinds; every damage has to be found."""
    chance = random.Random(seed)
    made = [new_backup("--format", form, "--compress", compress)[0] for form, compress in WAYS]
    good = tmp_path / "good"
    backup_folder.rename(good)
    missed = []
    for number in range(times):
        one = made[number % len(made)].name
        shutil.rmtree(backup_folder, ignore_errors=True)
        shutil.copytree(good / one, backup_folder / one)
        what = damage(chance, backup_folder / one)
        outcome = verify(one)
        if outcome.code != 4 or not outcome.json["data"][0]["finding"]:
            missed.append((one, what, outcome))
    assert missed == []


def test_some_random_damages_are_all_found(filled_database, use, new_backup, verify, backup_folder, tmp_path):
    use(filled_database)
    damage_many(new_backup, verify, backup_folder, tmp_path, 45, seed=1)


@pytest.mark.slow
def test_many_random_damages_are_all_found(filled_database, use, new_backup, verify, backup_folder, tmp_path):
    use(filled_database)
    damage_many(new_backup, verify, backup_folder, tmp_path, 300, seed=2)


@pytest.mark.parametrize("name", ["SHA256SUMS", "proof.json", "manifest.json"])
def test_another_end_of_line_is_a_change_too(filled_database, use, new_backup, verify, name):
    """Read as text these are ends of lines like any other, and sha256sum takes them for part of a name."""
    use(filled_database)
    path = new_backup()[0] / name
    content = path.read_bytes()
    for end in (b"", b"\r", b"\x0b", b"\x1c"):
        path.write_bytes(content[:-1] + end)
        assert verify().code == 4
        path.write_bytes(content.replace(b"\n", end, 1))
        assert verify().code == 4


def test_a_file_too_many_is_found_and_forgiven_when_it_is_gone(filled_database, use, new_backup, verify, listed):
    use(filled_database)
    made, _ = new_backup("--format", "directory")
    extra = made / "dump" / "9999.dat.zst"
    extra.write_bytes(b"")
    outcome = verify()
    assert outcome.code == 4
    assert f"1 of 1 backups are not as they were made: {made.name}" in outcome.error
    assert listed()[made.name]["state"] == "damaged"
    assert listed()[made.name]["finding"] == "dump/9999.dat.zst does not belong to this backup"
    extra.unlink()
    assert verify().code == 0
    assert listed()[made.name]["state"] == "verified"


def test_a_changed_or_missing_manifest_is_found_among_good_ones(filled_database, use, new_backup, verify, listed):
    use(filled_database)
    good, changed, missing = (new_backup("--schema-only")[0] for _ in range(3))
    manifest = changed / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"label": "n1"', '"label": "n2"'))
    (missing / "manifest.json").unlink()
    outcome = verify("--all")
    assert outcome.code == 4
    assert {row["id"]: (row["state"], row["finding"]) for row in outcome.json["data"]} == {
        good.name: ("verified", ""),
        changed.name: ("damaged", "manifest.json or SHA256SUMS was changed: the checksum differs"),
        missing.name: ("damaged", "manifest.json is missing"),
    }
    assert "2 of 3 backups" in outcome.error
    assert {name: row["state"] for name, row in listed().items()} == {
        good.name: "verified",
        changed.name: "damaged",
        missing.name: "damaged",
    }


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_changed_proof_is_told_once_and_then_made_anew(filled_database, use, new_backup, verify, listed, change):
    use(filled_database)
    made, _ = new_backup()
    proof = made / "proof.json"
    if change == "edit":
        proof.write_text(proof.read_text().replace('"proven_at": ""', '"proven_at": "2026-01-01T00:00:00Z"'))
    else:
        proof.unlink()
    assert listed()[made.name]["state"] == "created"  # nothing is known of it, least of all that it is proven
    outcome = verify()
    assert outcome.code == 4
    assert "proof.json" in outcome.json["data"][0]["finding"]
    assert outcome.json["data"][0]["state"] == "verified"
    assert verify().code == 0
    assert listed()[made.name] | {"state": "verified", "proven_at": None, "finding": None} == listed()[made.name]


@pytest.mark.parametrize("name", ["proof.json", "manifest.json", "SHA256SUMS", "dump.pgdump.zst"])
def test_a_folder_in_a_files_place_is_found(filled_database, use, new_backup, verify, listed, name):
    use(filled_database)
    path = new_backup()[0] / name
    path.unlink()
    path.mkdir()
    assert len(listed()) == 1
    if name == "proof.json":  # then there is nowhere to record it
        assert verify().code != 0
    else:
        assert verify().code == 4


def test_what_a_killed_check_left_is_no_damage(filled_database, use, new_backup, verify):
    use(filled_database)
    made, _ = new_backup()
    (made / "proof.json.partial").write_text('{"pro')
    assert verify().code == 0
    assert "proof.json.partial" not in left_in(made)


def test_what_is_proven_while_a_backup_is_read_stays_recorded(
    filled_database, use, new_backup, verify, listed, monkeypatch
):
    use(filled_database)
    made, _ = new_backup()

    def rehearse_meanwhile(*_):
        write_proof(made, checking.replace(read_backup(made).proof, proven_at="2026-01-01T00:00:00Z"))

    monkeypatch.setattr(checking, "read_whole", rehearse_meanwhile)
    assert verify().code == 0
    assert listed()[made.name]["state"] == "proven"


def test_a_machine_without_programs_is_told_and_is_no_damage(
    filled_database, use, new_backup, verify, listed, monkeypatch
):
    use(filled_database)
    made, _ = new_backup()
    monkeypatch.setattr(programs, "installed_programs", list)
    outcome = verify()
    assert outcome.code == 1
    assert "no client programs" in outcome.error
    assert listed()[made.name]["state"] == "verified"


def test_backups_on_a_read_only_medium_can_be_verified(filled_database, use, new_backup, iacalls, tmp_path):
    use(filled_database)
    made, _ = new_backup()
    medium = tmp_path / "medium"
    medium.mkdir()
    for words in (["--bind", made.parent, medium], ["-o", "remount,ro,bind", medium]):
        if subprocess.run(["mount", *words], capture_output=True).returncode != 0:
            pytest.skip("disks can be mounted here by root alone, or not at all")
    try:
        assert iacalls("backup", "verify", "--directory", str(medium)).code == 0
        (made / "dump.pgdump.zst").write_bytes(b"")
        assert iacalls("backup", "verify", "--directory", str(medium)).code == 4
    finally:
        subprocess.run(["umount", medium], check=True)


def test_the_newest_is_verified_unless_one_is_named(filled_database, use, new_backup, verify):
    use(filled_database)
    first, second = (new_backup("--schema-only", "--label", label)[0].name for label in ("a", "b"))
    assert [row["id"] for row in verify().json["data"]] == [second]
    assert [row["id"] for row in verify(first).json["data"]] == [first]
    assert verify(f"{filled_database}_").code == 2  # the beginning of both
    assert verify("else").code == 2


def test_a_disk_that_fails_to_read_is_damage_and_not_the_end(filled_database, use, new_backup, verify, monkeypatch):
    use(filled_database)
    made = [new_backup()[0].name for _ in range(2)]
    hash_file = checking.hash_file

    def fail_once(folder, path):
        if folder.name == made[0] and path.startswith("dump"):
            raise OSError(errno.EIO, "Input/output error")
        return hash_file(folder, path)

    monkeypatch.setattr(checking, "hash_file", fail_once)
    outcome = verify("--all")
    assert outcome.code == 4
    assert {row["id"]: row["finding"] for row in outcome.json["data"]} == {
        made[0]: "dump.pgdump.zst cannot be read: the disk fails",
        made[1]: "",
    }
