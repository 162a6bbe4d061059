"""Which client programs make a backup, and that the standard programs alone bring it back."""

import re
import shutil
import subprocess

import pytest
import zstandard

from iacalls_cli.database import programs
from iacalls_cli.database.programs import choose_programs, installed_programs
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import IacallsError
from tests.servers import OWNER

BUNDLED = int(bundled().version.split(".")[0])


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Make folders with client programs that only tell their version; they are all there is besides the bundled ones."""
    monkeypatch.setattr(programs, "VERSION_FOLDERS", (f"{tmp_path}/versions/*/bin",))
    monkeypatch.setenv("PATH", f"{tmp_path}/first/bin:{tmp_path}/second/bin")

    def make(place, version, names=("pg_dump", "pg_restore")):
        folder = tmp_path / place / "bin"
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian)'\n")
            (folder / name).chmod(0o700)
        return folder

    return make


def test_the_oldest_programs_that_are_not_older_than_the_server_are_taken(install):
    install("first", "16.4")
    in_15 = install("versions/15", "15.18")
    install("versions/14", "14.2")
    in_17 = install("versions/17", "17beta1")
    assert choose_programs(15).folder == in_15
    assert choose_programs(17).folder == in_17
    assert choose_programs(14).version == "14.2"
    assert choose_programs(16).version == "16.4"
    assert choose_programs(18).is_bundled


def test_of_the_same_version_those_of_path_are_taken(install):
    install("versions/16", "16.9")
    install("second", "16.2")
    first = install("first", "16.1")
    assert choose_programs(16).folder == first


def test_folders_that_lack_a_program_or_whose_programs_do_not_run_are_passed_over(install, tmp_path):
    install("first", "15.1", names=("pg_dump",))
    broken = install("second", "15.2")
    (broken / "pg_dump").write_text("#!/nowhere/sh\n")
    # Debian's programs in PATH are links to a script that chooses a version by itself.
    wrapped = install("versions/15", "15.3")
    (wrapped / "pg_dump").rename(wrapped / "pg_wrapper")
    (wrapped / "pg_dump").symlink_to("pg_wrapper")
    assert choose_programs(15).is_bundled
    assert [one.is_bundled for one in installed_programs()] == [True]


def test_none_that_fits_is_an_error_that_says_what_there_is(install):
    install("first", "15.18")
    with pytest.raises(IacallsError, match=rf"PostgreSQL {BUNDLED + 1} are installed.*PostgreSQL 15.18 \(/") as refusal:
        choose_programs(BUNDLED + 1)
    assert "(bundled)" in refusal.value.message
    assert f"postgresql-client-{BUNDLED + 1}" in refusal.value.hint


def test_an_encrypted_connection_is_not_given_to_programs_without_tls(install):
    with pytest.raises(IacallsError, match="the bundled client programs know no TLS") as refusal:
        choose_programs(15, encrypted=True)
    assert "postgresql-client-15" in refusal.value.hint
    folder = install("first", "17.1")
    assert choose_programs(15, encrypted=True).folder == folder


def test_the_programs_that_fit_the_server_make_the_dump_and_are_shown(
    server, filled_database, use, create_backup, new_backup
):
    use(filled_database)
    oldest = min(one.major for one in installed_programs() if one.major >= server.major)
    _, manifest = new_backup()
    assert manifest.client_major == oldest
    outcome = create_backup("--dry-run")
    assert f"with pg_dump of PostgreSQL {manifest.client} (" in outcome.err
    if server.major == 15 and oldest == 15:
        assert "SET transaction_timeout" not in dumped(new_backup)  # which only 17 and newer know


def dumped(new_backup, *options):
    """The text of a plain dump."""
    made, _ = new_backup("--format", "plain", "--compress", "none", *options)
    return (made / "dump.sql").read_text()


def test_two_plain_backups_of_one_structure_differ_in_their_key_alone(filled_database, use, new_backup):
    """New minors of pg_dump write a random key into each dump; psql has to be as new."""
    use(filled_database)
    first, second = (dumped(new_backup, "--schema-only") for _ in range(2))
    key = re.compile(r"^\\(un)?restrict \w+$", re.MULTILINE)
    assert key.sub("", first) == key.sub("", second)
    if key.search(first):
        assert first != second


def run(program, *words, **options):
    return subprocess.run([program, *words], check=True, capture_output=True, **options)


def unpack(archive):
    """The content of an archive, decompressed as by hand."""
    if archive.suffix == ".zst" and (zstd := shutil.which("zstd")):
        return run(zstd, "-dc", archive).stdout
    if archive.suffix == ".zst":
        with archive.open("rb") as file:
            return zstandard.ZstdDecompressor().stream_reader(file).read()
    return run("gzip", "-dc", archive).stdout if archive.suffix == ".gz" else archive.read_bytes()


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
@pytest.mark.parametrize("compress", ["zstd", "gzip", "none"])
def test_the_standard_programs_alone_bring_a_backup_back(
    server, filled_database, empty_database, use, new_backup, form, compress
):
    use(filled_database)
    made, manifest = new_backup("--format", form, "--compress", compress)
    folder = choose_programs(server.major).folder
    if (form != "plain" and not (folder / "pg_restore").exists()) or (
        form == "plain" and not (folder / "psql").exists()
    ):
        pytest.skip("the programs are not all there")
    target, (archive,) = server.dsn(empty_database), [path for path in made.iterdir() if path.name.startswith("dump")]
    if form == "plain":
        run(folder / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", target, input=unpack(archive))
    elif form == "custom":
        run(folder / "pg_restore", "--exit-on-error", "-d", target, input=unpack(archive))
    else:
        for path in archive.glob("*.zst"):
            path.with_suffix("").write_bytes(unpack(path))
            path.unlink()
        run(folder / "pg_restore", "--exit-on-error", "-d", target, archive)
    with server.connect(empty_database, OWNER) as owner:
        for table in manifest.tables:
            (rows,) = owner.execute(f'SELECT count(*) FROM public."{table.name}"').fetchone()
            assert (table.name, rows) == (table.name, table.rows)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
@pytest.mark.parametrize("form", ["custom", "directory"])
def test_sha256sum_checks_a_backup_by_hand(filled_database, use, new_backup, form):
    use(filled_database)
    made, manifest = new_backup("--format", form)
    said = run("sha256sum", "-c", "SHA256SUMS", cwd=made).stdout.decode().splitlines()
    assert len(said) == len(manifest.files) + 1
    assert {line.rsplit(": ")[1] for line in said} == {"OK"}
    assert "manifest.json: OK" in said
