"""`iacalls backup restore --into`: everything comes back, into a new database or not at all."""

import concurrent.futures
import difflib
import itertools
import os
import shutil
import subprocess

import psycopg
import pytest
from psycopg import sql

from iacalls_cli.database.programs import choose_programs
from iacalls_cli.operations.db.compare import compare
from iacalls_cli.operations.db.verify import read_catalog
from tests.support.command_line import run_process
from tests.support.nasty_database import dump_file, hashes, make_nasty, sequences, structure
from tests.support.servers import OWNER

FORMATS = ("custom", "directory", "plain")
COMPRESSIONS = ("zstd:1", "gzip:1", "none")
CONTENTS = ("full", "schema", "data")
ALL = list(itertools.product(FORMATS, COMPRESSIONS, CONTENTS))
# Each format, compression and content at least once, in few pairs.
SOME = [("custom", "zstd:1", "full"), ("directory", "zstd:1", "full"), ("plain", "gzip:1", "full"),
        ("directory", "gzip:1", "schema"), ("plain", "none", "schema"), ("custom", "none", "data"),
        ("plain", "zstd:1", "data")]  # fmt: skip


@pytest.fixture(scope="module")
def nasty(server):
    name = server.create_database()
    make_nasty(server, name)
    yield name
    server.drop_database(name)


def databases(server):
    with server.connect("postgres") as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def make_backup(iacalls, *options):
    outcome = iacalls("backup", "create", "-o", "json", *options)
    assert outcome.code == 0, outcome.err
    return outcome.json["data"][0]["id"]


def restore(iacalls, *arguments):
    outcome = iacalls("backup", "restore", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def full_circle(server, iacalls, use, source, new, way):
    archive_format, compress, contents = way
    use(source, "")
    options = [] if contents == "full" else [f"--{contents}-only"]
    backup = make_backup(iacalls, "--format", archive_format, "--compress", compress, *options)
    if contents == "data":
        schema = make_backup(iacalls, "--format", archive_format, "--schema-only", "--label", "schema")
        restore(iacalls, schema, "--into", new)
        use(new, "")
        restore(iacalls, backup, "--data-only")
    else:
        restore(iacalls, backup, "--into", new)
    found, wanted = structure(server, new).splitlines(), structure(server, source).splitlines()
    assert "\n".join(difflib.unified_diff(wanted, found, lineterm="", n=1)) == ""
    if contents == "schema":
        assert {count for count, _ in hashes(server, new).values()} == {0}
    else:
        expected = hashes(server, source)
        if contents == "data":
            # pg_dump has what is computed with the structure, and unfilled; large objects belong to who brings them back.
            del expected["public", "cuenta"], expected["rights on", "large objects"]
        assert hashes(server, new).items() >= expected.items()
        assert sequences(server, new) == sequences(server, source)


@pytest.mark.parametrize("way", SOME, ids="-".join)
def test_full_circle(server, nasty, new, iacalls, use, way):
    full_circle(server, iacalls, use, nasty, new, way)


@pytest.mark.slow
@pytest.mark.parametrize("way", [way for way in ALL if way not in SOME], ids="-".join)
def test_full_circle_of_every_other_combination(server, nasty, new, iacalls, use, way):
    full_circle(server, iacalls, use, nasty, new, way)


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_database_of_ours_comes_back_and_goes_on(server, filled_database, new, iacalls, use, archive_format):
    """By the owner, who is no superuser; and each serial column gives its next value."""
    use(filled_database)
    backup = make_backup(iacalls, "--format", archive_format)
    outcome = restore(iacalls, backup, "--into", new, "--jobs", "3")
    assert f"{new} has the documented schema" in outcome.err
    assert hashes(server, new) == hashes(server, filled_database)
    with server.connect(new, OWNER) as connection, server.connect(filled_database) as source:
        assert compare(read_catalog(source), read_catalog(connection)) == []
        connection.execute("INSERT INTO users (username, email, password) VALUES ('nuevo', 'n@example.com', '!')")
        # Analyzed: without that the planner guesses until autovacuum comes by.
        query = "SELECT count(*) FROM pg_class WHERE relname IN ('users', 'clients') AND reltuples > 0"
        assert connection.execute(query).fetchone() == (2,)
        assert connection.execute("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'public'").fetchone() == (True,)


def test_only_the_structure_of_a_full_backup(server, filled_database, new, iacalls, use):
    use(filled_database)
    for number, archive_format in enumerate(FORMATS):
        backup = make_backup(iacalls, "--format", archive_format, "--label", archive_format)
        outcome = restore(iacalls, backup, "--into", f"{new}{number}", "--schema-only")
        try:
            assert {count for count, _ in hashes(server, f"{new}{number}").values()} == {0}
            assert "has the documented schema" in outcome.err
        finally:
            server.drop_database(f"{new}{number}")


def test_a_name_that_exists_is_refused(server, filled_database, database, iacalls, use):
    use(filled_database)
    backup = make_backup(iacalls)
    before = hashes(server, database)
    outcome = iacalls("backup", "restore", backup, "--into", database)
    assert outcome.code == 2
    assert f"there is a database {database} already" in outcome.error
    assert hashes(server, database) == before


def test_dry_run_changes_nothing(server, filled_database, new, iacalls, use):
    use(filled_database)
    backup = make_backup(iacalls)
    before = databases(server)
    assert f"make the database {new}" in restore(iacalls, backup, "--into", new, "--dry-run").err
    assert databases(server) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "where to?"),
        (["--into", "x", "--replace"], "no other way"),
        (["--into", "x", "--table", "users"], "a whole database"),
        (["--schema-only"], "where to?"),
        (["--into", "x", "--schema-only", "--data-only"], "contradict"),
        (["--into", "postgres"], "PostgreSQL's own"),
        (["--into", ""], "PostgreSQL's own"),
        (["--into", "ñ" * 32], "longer than 63 bytes"),
    ],
)
def test_contradictions_are_told_before_anything(server, database, iacalls, use, tmp_path, arguments, words):
    use(database)
    file = dump_file(server, database, tmp_path / "a.sql")
    before = databases(server)
    outcome = iacalls("backup", "restore", file, *arguments)
    assert outcome.code == 2
    assert words in outcome.error
    assert databases(server) == before


@pytest.mark.parametrize("archive_format", FORMATS)
def test_a_damaged_backup_is_refused_before_a_database_is_made(
    server, filled_database, new, iacalls, use, tmp_path, archive_format
):
    use(filled_database)
    backup = make_backup(iacalls, "--format", archive_format, "--directory", str(tmp_path / "b"))
    folder = tmp_path / "b" / backup
    file = max((path for path in folder.rglob("dump*") if path.is_file()), default=None) or folder / "dump/toc.dat"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before, rows = databases(server), hashes(server, filled_database)
    for way in (["--into", new], ["--replace", "--confirm", filled_database], ["--table", "users"]):
        outcome = iacalls("backup", "restore", backup, "--directory", str(tmp_path / "b"), *way)
        assert outcome.code == 1
        assert "is damaged" in outcome.error
    assert databases(server) == before
    assert hashes(server, filled_database) == rows


def test_two_restores_of_one_name_the_second_says_so(server, filled_database, new, iacalls, use):
    dsn = use(filled_database)
    backup = make_backup(iacalls)
    environment = {**os.environ, "IACALLS_DSN": dsn}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        arguments = ("backup", "restore", backup, "--into", new)
        outcomes = list(pool.map(lambda _: run_process(*arguments, env=environment), range(2)))
    losers = [outcome for outcome in outcomes if outcome.code != 0]
    assert len(losers) == 1
    assert "is at work on" in losers[0].error or "already" in losers[0].error
    assert hashes(server, new) == hashes(server, filled_database)


def test_what_a_killed_restore_left_goes_with_the_next(server, filled_database, new, iacalls, use):
    use(filled_database)
    backup = make_backup(iacalls)
    left, busy = f"{new}.restore-0123abcd", f"{new}.restore-4567abcd"
    with server.connect("postgres", OWNER) as connection:
        for name in (left, busy):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    # One of the killed one's own sessions may still be at work; somebody else's is respected.
    with psycopg.connect(server.dsn(left, OWNER), application_name="iacalls/backup restore"), server.connect(busy):
        restore(iacalls, backup, "--into", new)
    assert left not in databases(server)
    assert busy in databases(server)
    server.drop_database(busy)


def test_clean_into_a_used_database_doubles_rows_and_ours_cannot(server, filled_database, new, iacalls, use, tmp_path):
    """The danger is real: with one view more the usual way of restoring appends to what is there."""
    file = dump_file(server, filled_database, tmp_path / "a.dump", "-Fc")
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("CREATE TABLE public.pares AS SELECT 1 AS a")
        connection.execute("CREATE VIEW public.vista AS SELECT * FROM public.schema_migrations"
                           if connection.execute("SELECT to_regclass('public.schema_migrations')").fetchone()[0]
                           else "CREATE VIEW public.vista AS SELECT * FROM public.call_records")  # fmt: skip
        connection.execute("ALTER TABLE public.call_records DROP CONSTRAINT call_records_pkey CASCADE")
        before = connection.execute("SELECT count(*) FROM public.call_records").fetchone()[0]
    program = choose_programs(server.major).folder / "pg_restore"
    done = subprocess.run(
        [program, "--clean", "--if-exists", f"--dbname={server.dsn(filled_database, OWNER)}", file], capture_output=True
    )
    assert done.returncode == 1
    with server.connect(filled_database) as connection:
        assert connection.execute("SELECT count(*) FROM public.call_records").fetchone()[0] == 2 * before
    use(filled_database)
    restore(iacalls, file, "--into", new)
    with server.connect(new) as connection:
        assert connection.execute("SELECT count(*) FROM public.call_records").fetchone()[0] == before


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs to mount a small file system")
def test_a_full_disk_while_a_restore_unpacks(server, filled_database, new, iacalls, use, tmp_path):
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("CREATE TABLE public.mucho AS SELECT repeat('x', 1000) FROM generate_series(1, 8000)")
    use(filled_database)
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        backup = make_backup(iacalls, "--directory", str(tmp_path / "b"))
        shutil.copytree(tmp_path / "b" / backup, small / backup)
        before = databases(server)
        outcome = iacalls("backup", "restore", backup, "--directory", str(small), "--into", new)
        assert outcome.code == 1
        assert "No space left on device" in outcome.error
        assert [path.name for path in small.iterdir()] == [backup]
        assert databases(server) == before
    finally:
        subprocess.run(["umount", small], check=True)
