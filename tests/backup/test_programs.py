"""Which client programs make a backup, and that the standard programs alone bring it back."""

import re
import shutil
import subprocess

import pytest
import zstandard
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from iacalls_cli.database import programs
from iacalls_cli.database.newer_options import newer_options, without_newer
from iacalls_cli.database.programs import choose_programs, installed_programs
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import IacallsError
from tests.support.servers import OWNER

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


def test_the_oldest_programs_not_older_than_the_server_are_taken(install):
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


def test_folders_without_working_programs_are_passed_over(install, tmp_path):
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


def test_programs_without_tls_get_no_encrypted_connection(install):
    with pytest.raises(IacallsError, match="the bundled client programs know no TLS") as refusal:
        choose_programs(15, encrypted=True)
    assert "postgresql-client-15" in refusal.value.hint
    folder = install("first", "17.1")
    assert choose_programs(15, encrypted=True).folder == folder


def test_programs_that_fit_the_server_dump_and_are_shown(server, filled_database, use, create_backup, new_backup):
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


def test_plain_backups_of_one_structure_differ_in_the_key_alone(filled_database, use, new_backup):
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


@pytest.mark.parametrize(
    ("options", "since"),
    [
        ({"require_auth": "scram-sha-256"}, 16), ({"sslcertmode": "require"}, 16), ({"sslrootcert": "system"}, 16),
        ({"gssdelegation": "1"}, 17), ({"sslnegotiation": "direct"}, 17), ({"min_protocol_version": "3.2"}, 18),
        # What every supported program knows, what has its default, and what programs need not do.
        ({"channel_binding": "require"}, 0), ({"sslrootcert": "ca.crt"}, 0), ({"sslnegotiation": "postgres"}, 0),
        ({"load_balance_hosts": "random"}, 0), ({"load_balance_hosts": "random", "service": "x"}, 16),
    ],
)  # fmt: skip
def test_programs_know_the_options_that_are_in_use(install, options, since):
    for major in (15, 16, 17):
        install(f"versions/{major}", f"{major}.1")
    needs = newer_options(options)
    assert max(needs.values(), default=0) == since
    assert choose_programs(15, needs=needs).major == max(15, since)


def test_programs_that_are_too_old_are_named_with_what_is_needed(install):
    install("versions/15", "15.18")
    with pytest.raises(IacallsError, match="require_auth of this connection needs") as caught:
        choose_programs(15, encrypted=True, needs={"require_auth": 16})
    assert "PostgreSQL 16 or newer" in caught.value.message
    assert "PostgreSQL 15.18" in caught.value.message
    assert "postgresql-client-16" in caught.value.hint
    assert choose_programs(15, needs={"require_auth": 16}).is_bundled


@pytest.mark.parametrize("way", ["dsn", "environment", "service"])
def test_an_option_counts_wherever_it_stands(filled_database, use, create_backup, install, monkeypatch, tmp_path, way):
    """In the environment, older programs would ignore it."""
    install("versions/18", "18.0")
    monkeypatch.setattr(programs, "bundled", lambda: (_ for _ in ()).throw(IacallsError("none")))
    monkeypatch.setattr("iacalls_cli.database.newer_options.SINCE", {"sslcertmode": 99})
    dsn = use(filled_database)
    if way == "environment":
        monkeypatch.setenv("PGSSLCERTMODE", "disable")
    elif way == "dsn":
        monkeypatch.setenv("IACALLS_DSN", f"{dsn} sslcertmode=disable")
    else:
        lines = "\n".join(f"{key}={value}" for key, value in conninfo_to_dict(dsn).items())
        (tmp_path / "services").write_text(f"[x]\n{lines}\nsslcertmode=disable\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        monkeypatch.setenv("IACALLS_DSN", "service=x")
    outcome = create_backup()
    assert outcome.code == 1
    assert "sslcertmode of this connection needs client programs of PostgreSQL 99" in outcome.error


def test_options_at_defaults_are_not_given_to_older_programs():
    given = {"sslnegotiation": "postgres", "host": "x", "require_auth": "", "channel_binding": "prefer"}
    assert without_newer(given, 15) == {"host": "x", "channel_binding": "prefer"}
    assert without_newer(given, 17) == given


@pytest.mark.parametrize(
    "hosts",
    [
        "host={h},{h} hostaddr={h},{h} port={p},{p}",
        "host={h},{h} hostaddr=127.0.0.2,{h} port=1,{p}",
        "hostaddr={h},{h} port={p},{p}",
        "host={h},{h} port={p},{p} target_session_attrs=read-write",
        "host={h},{h} port={p},{p} target_session_attrs=primary load_balance_hosts=random",
        "host={h} port={p} load_balance_hosts=random",
    ],
)
def test_programs_go_to_the_server_of_the_session(server, filled_database, create_backup, monkeypatch, hosts):
    """libpq takes as many addresses as names; another one of them may be another server."""
    keywords = server.keywords(filled_database, OWNER)
    given = hosts.format(h=keywords.pop("host"), p=keywords.pop("port"))
    monkeypatch.setenv("IACALLS_DSN", f"{make_conninfo(**keywords)} {given}")
    outcome = create_backup("--schema-only")
    assert outcome.code == 0, outcome.err
