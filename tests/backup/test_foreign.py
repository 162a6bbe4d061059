"""`iacalls backup restore` of what plain pg_dump wrote, and of what only looks like it."""

import bz2
import gzip
import lzma
import os
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import psycopg
import pytest
import zstandard
from psycopg import sql

from iacalls_cli.database.programs import Programs, choose_programs
from iacalls_cli.embedded.bundle import bundled
from tests.support.nasty_database import NASTY, dump_file, hashes, structure
from tests.support.refusals import refused
from tests.support.servers import OWNER, READER, STRANGER

UNVERIFIED = "no manifest: neither checksums nor rows per table can be compared"


@pytest.fixture(scope="module")
def source(server):
    """A small database, which is none of ours."""
    name = server.create_database()
    with server.connect(name, OWNER) as connection:
        connection.execute("CREATE SCHEMA s; CREATE TABLE s.users (id serial PRIMARY KEY, name text NOT NULL)")
        connection.execute("CREATE TABLE s.clients (id bigserial PRIMARY KEY, user_id int REFERENCES s.users, o jsonb)")
        connection.execute("INSERT INTO s.users (name) SELECT md5(n::text) FROM generate_series(1, 1000) AS n")
        connection.execute("INSERT INTO s.clients (user_id, o) SELECT id, '[\"ñ;\"]' FROM s.users")
        connection.execute("CREATE VIEW s.v AS SELECT count(*) AS n FROM s.clients")
    yield name
    server.drop_database(name)


@pytest.fixture(scope="module")
def plain_text(server, source, tmp_path_factory):
    return Path(dump_file(server, source, tmp_path_factory.mktemp("plain") / "plain.sql")).read_bytes()


@pytest.fixture
def plain(source, plain_text, use, tmp_path):
    """A plain dump of the target, to be edited."""
    use(source)
    (tmp_path / "plain.sql").write_bytes(plain_text)
    return tmp_path / "plain.sql"


def databases(server):
    with server.connect("postgres") as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def edit(path, *changes):
    text = path.read_text("utf-8")
    for old, new in changes:
        assert re.search(old, text, re.MULTILINE), old
        text = re.sub(old, lambda match, new=new: new, text, count=1, flags=re.MULTILINE)
    path.write_text(text, "utf-8")
    return str(path)


def restore(iacalls, *arguments):
    outcome = iacalls("backup", "restore", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def compress(path, kind):
    data = path.read_bytes()
    target = path.with_name(path.name + kind)
    target.write_bytes(gzip.compress(data, 1) if kind == ".gz" else zstandard.ZstdCompressor().compress(data))
    return str(target)


@pytest.mark.parametrize(("kind", "options"), [
    ("", ["-Fp"]), (".gz", ["-Fp"]), (".zst", ["-Fp"]), ("", ["-Fc"]), (".gz", ["-Fc"]), ("", ["-Ft"]),
    (".zst", ["-Ft"]), ("", ["-Fd"]), (".gz", ["--inserts", "--clean", "--if-exists"]),
])  # fmt: skip
def test_what_pg_dump_wrote_comes_back(server, source, new, iacalls, use, tmp_path, options, kind):
    use(source)
    file = dump_file(server, source, tmp_path / "foreign", *options)
    outcome = restore(iacalls, compress(Path(file), kind) if kind else file, "--into", new)
    assert UNVERIFIED in outcome.err
    assert hashes(server, new) == hashes(server, source)
    assert structure(server, new) == structure(server, source)


def test_inserts_with_values_that_look_like_sql(server, empty_database, new, iacalls, use, tmp_path):
    with server.connect(empty_database) as connection:
        connection.execute(NASTY)
    use(empty_database, "")
    restore(iacalls, dump_file(server, empty_database, tmp_path / "a.sql", "--inserts"), "--into", new)
    assert hashes(server, new) == hashes(server, empty_database)


def test_a_dump_with_clean_is_no_trouble_if_nothing_is_to_go(server, source, new, iacalls, use, tmp_path):  # fmt: skip
    use(source)
    restore(iacalls, dump_file(server, source, tmp_path / "a.sql", "--clean"), "--into", new)
    assert hashes(server, new) == hashes(server, source)


CUT = 40_000


def spoil(kind, path, server, name):
    """What is no dump, or no whole one; returns its path."""
    target = path.with_name("spoiled")
    if kind == "random":
        target.write_bytes(os.urandom(5000))
    elif kind == "empty":
        target.touch()
    elif kind == "folder":
        target.mkdir()
    elif kind == "folder with another toc.dat":
        target.mkdir()
        (target / "toc.dat").write_bytes(b"hello")
    elif kind == "pg_dumpall":
        target.write_text("--\n-- PostgreSQL database cluster dump\n--\n\nCREATE ROLE x;\n")
    elif kind == "truncated plain":
        target.write_bytes(path.read_bytes()[:CUT])
    elif kind == "truncated gzip":
        target.write_bytes(Path(compress(path, ".gz")).read_bytes()[: -CUT // 8])
    elif kind == "truncated zstd":
        target.write_bytes(Path(compress(path, ".zst")).read_bytes()[:-7])
    elif kind == "truncated custom":
        content = Path(dump_file(server, name, path.with_name("c"), "-Fc")).read_bytes()
        target.write_bytes(content[: len(content) * 2 // 3])
    elif kind == "connect":
        target.write_text(re.sub(r"(?m)^CREATE TABLE", "\\\\connect postgres\nCREATE TABLE", path.read_text(), count=1))
    elif kind == "shell":
        target.write_text(path.read_text().replace("CREATE TABLE", f"\\! touch {path}.ran\nCREATE TABLE", 1))
    elif kind == "view of something missing":
        target.write_text(path.read_text().replace("CREATE TABLE", "CREATE VIEW s.w AS SELECT * FROM nosuch;\nCREATE TABLE", 1))  # fmt: skip
    else:  # a value that is none
        target.write_text(re.sub(r"(COPY s.users .*\n)", r"\1x", path.read_text()))
    return target


@pytest.mark.parametrize(("kind", "code", "words"), [
    ("random", 2, "is not a dump"), ("empty", 2, "is not a dump"), ("folder", 2, "without toc.dat"),
    ("folder with another toc.dat", 2, "not one that pg_dump wrote"), ("pg_dumpall", 2, "is of pg_dumpall"),
    ("truncated plain", 1, "ends too early"), ("truncated gzip", 1, "is damaged"), ("truncated zstd", 1, "is damaged"),
    ("truncated custom", 1, "failed"), ("connect", 2, "command for psql: \\connect postgres"),
    ("shell", 2, "command for psql"), ("view of something missing", 1, '"nosuch" does not exist'),
    ("bad value", 1, "invalid input syntax for type integer"),
])  # fmt: skip
def test_what_is_no_whole_dump_is_refused_and_nothing_left(server, source, new, iacalls, plain, kind, code, words):
    file = spoil(kind, plain, server, source)
    before, rows = databases(server), hashes(server, source)
    for way in (["--into", new], ["--replace", "--confirm", source]):
        outcome = iacalls("backup", "restore", str(file), *way)
        assert outcome.code == code
        assert words in outcome.error
    assert databases(server) == before
    assert hashes(server, source) == rows
    assert not Path(f"{plain}.ran").exists()


def test_a_plain_dump_without_its_middle_is_found(server, new, iacalls, plain):
    """Two cut files put together, say: the end is there, and a statement is not."""
    text = plain.read_bytes()
    plain.write_bytes(text[:CUT] + b"\n--\n-- PostgreSQL database dump complete\n--\n")
    before = databases(server)
    outcome = iacalls("backup", "restore", str(plain), "--into", new)
    assert outcome.code == 1
    assert outcome.error
    assert databases(server) == before


def test_a_dump_that_drops_the_database_itself_does_not(server, database, new, iacalls, use, tmp_path):
    """pg_dump --clean --create begins with DROP DATABASE, and nobody may be in that database just then."""
    file = dump_file(server, database, tmp_path / "a.sql", "--clean", "--create")
    use("postgres", "")
    outcome = restore(iacalls, file, "--into", new)
    assert f"statements about the database {database}" in outcome.err
    assert {database, new} <= databases(server)


def test_lines_that_restrict_psql_are_understood(server, source, new, iacalls, plain):
    """Newer pg_dumps write them, and older psqls stumble over them."""
    if "\\restrict" not in plain.read_text():
        edit(plain, (r"^SET statement_timeout", "\\restrict aB3\nSET statement_timeout"))
        plain.write_text(plain.read_text() + "\\unrestrict aB3\n")
    restore(iacalls, str(plain), "--into", new)
    assert hashes(server, new) == hashes(server, source)


def test_what_only_newer_servers_know_is_left_out(server, source, new, iacalls, plain):
    statistics = "SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180006'::integer);"
    edit(plain, (r"^SET statement_timeout", f"{statistics}\nSET statement_timeout"))
    if "transaction_timeout" not in plain.read_text():
        edit(plain, (r"^SET statement_timeout", "SET transaction_timeout = 0;\nSET statement_timeout"))
    restore(iacalls, str(plain), "--into", new)
    assert hashes(server, new) == hashes(server, source)


@pytest.mark.postgres("< 17")
@pytest.mark.parametrize("path", [os.environ["PATH"], "/nowhere"])
def test_an_archive_of_a_newer_pg_dump_comes_back(server, source, new, iacalls, use, tmp_path, monkeypatch, path):  # fmt: skip
    bundle = bundled()
    newest = Programs(bundle.programs, bundle.version)
    file = tmp_path / "new.dump"
    subprocess.run([newest.folder / "pg_dump", "-Fc", f"--file={file}", server.dsn(source)], check=True)
    monkeypatch.setenv("PATH", path)
    use(source)
    restore(iacalls, str(file), "--into", new)
    assert hashes(server, new) == hashes(server, source)


def test_sequences_stay_as_dumped_and_those_behind_are_named(server, new, iacalls, plain):
    edit(plain, (r"^SELECT pg_catalog.setval\('s.users_id_seq'.*$", ""),
         (r"^SELECT pg_catalog.setval\('s.clients_id_seq'.*$", "SELECT pg_catalog.setval('s.clients_id_seq', 99999, true);"))  # fmt: skip
    outcome = restore(iacalls, str(plain), "--into", new)
    assert "s.users_id_seq gives 1 next, and s.users has 1000" in outcome.err
    with server.connect(new, OWNER) as connection:
        assert connection.execute("SELECT nextval('s.users_id_seq')").fetchone() == (1,)
        assert connection.execute("SELECT last_value FROM s.clients_id_seq").fetchone() == (99999,)


def test_an_extension_that_the_server_lacks_is_named(server, source, new, iacalls, plain):
    made = 'CREATE EXTENSION IF NOT EXISTS "no such" WITH SCHEMA public;\n\nCOMMENT ON EXTENSION "no such" IS \'x; y\';\n\n'
    edit(plain, (r"^CREATE TABLE", made + "CREATE TABLE"))
    outcome = restore(iacalls, str(plain), "--into", new)
    assert "extensions that this server does not have: no such" in outcome.err
    assert hashes(server, new) == hashes(server, source)


def test_a_comment_on_plpgsql_is_passed_over(server, source, new, iacalls, plain):
    """Old dumps comment on plpgsql, which belongs to a superuser."""
    edit(plain, (r"^CREATE TABLE", "COMMENT ON EXTENSION plpgsql IS 'x';\n\nCREATE TABLE"))
    outcome = restore(iacalls, str(plain), "--into", new)
    assert "plpgsql" not in outcome.err


@pytest.mark.parametrize("option", ["-Fp", "-Fc"])
def test_roles_and_owners_that_are_missing_are_named(server, empty_database, new, iacalls, use, tmp_path, option):
    gone, kept = 'gone "x"', READER
    with server.connect(empty_database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(gone)))
        connection.execute(
            sql.SQL(
                'CREATE TABLE "a TO nobody" (id int); CREATE TABLE b (id int); CREATE TABLE c (id int);'
                'ALTER TABLE "a TO nobody" OWNER TO {kept}; ALTER TABLE b OWNER TO {gone};'
                'GRANT SELECT ON "a TO nobody" TO {stranger}; GRANT SELECT ON c TO {gone}, {kept};'
                "ALTER DEFAULT PRIVILEGES FOR ROLE {gone} GRANT SELECT ON TABLES TO {kept}"
            ).format(gone=sql.Identifier(gone), kept=sql.Identifier(kept), stranger=sql.Identifier(STRANGER))
        )
        file = dump_file(server, empty_database, tmp_path / "a", option)
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(gone)))
    use(empty_database, "")
    outcome = restore(iacalls, file, "--into", new)
    assert f"no member of: {gone}" in outcome.err
    assert f"privileges and policies left out because these roles are missing: {gone}" in outcome.err
    with server.connect(new) as connection:
        query = "SELECT tableowner, has_table_privilege(%s, tablename, 'SELECT') FROM pg_tables WHERE tablename = %s"
        for role, table, expected in ((STRANGER, "a TO nobody", (kept, True)), (kept, "c", ("postgres", True)),
                                      (STRANGER, "c", ("postgres", False)), (STRANGER, "b", ("postgres", False))):  # fmt: skip
            quoted = sql.Identifier(table).as_string()
            found = connection.execute(query.replace("tablename, 'S", "quote_ident(tablename), 'S"), [role, table])
            assert found.fetchone() == expected, quoted


def test_a_role_that_owns_nothing_restores_what_others_owned(server, empty_database, new, iacalls, use, tmp_path):  # fmt: skip
    """Also where a right was taken away from the owner itself: rows come first, rights last."""
    with server.connect(empty_database) as connection:
        connection.execute(f"CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO {READER}")
        connection.execute(f"CREATE TABLE u (a serial); ALTER TABLE u OWNER TO {OWNER}; INSERT INTO u VALUES (5)")
        connection.execute(f"REVOKE ALL ON u FROM {OWNER}")
    file = dump_file(server, empty_database, tmp_path / "a", "-Fc")
    use(empty_database)
    outcome = restore(iacalls, file, "--into", new)
    assert READER in outcome.err
    with server.connect(new) as connection:
        query = "SELECT relname::text, relowner::regrole::text FROM pg_class WHERE relname IN ('t', 'u')"
        assert set(connection.execute(query)) == {("t", OWNER), ("u", OWNER)}
    with server.connect(new, OWNER) as connection, refused(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM u")


def test_files_that_are_not_there_or_not_ours_to_read(server, source, new, iacalls, use, tmp_path):
    use(source)
    outcome = iacalls("backup", "restore", str(tmp_path / "nosuch.sql"), "--into", new)
    assert outcome.code == 2
    assert "there is no file" in outcome.error
    assert choose_programs(server.major).major >= server.major


# Dumps made with --create, stripped of their comments, or packed.


@pytest.mark.parametrize("options", [["--create"], ["--create", "--clean"], ["--create", "--clean", "--if-exists"]])
def test_a_dump_made_with_create_leaves_its_own_database_alone(server, source, new, iacalls, use, tmp_path, options):
    with server.connect("postgres") as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} SET work_mem = '5MB'").format(sql.Identifier(source)))
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS 'x'").format(sql.Identifier(source)))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(source)))
    use(source)
    before = hashes(server, source)
    outcome = restore(iacalls, dump_file(server, source, tmp_path / "a.sql", *options), "--into", new)
    assert f"statements about the database {source}" in outcome.err
    assert hashes(server, new) == before == hashes(server, source)
    assert structure(server, new) == structure(server, source)


def test_a_dump_of_a_database_with_an_odd_name(server, new, iacalls, use, tmp_path):
    name = f"{new} \"Ñ'; x"
    with server.connect("postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        with server.connect(name) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS id")
        use(name, "")
        restore(iacalls, dump_file(server, name, tmp_path / "a.sql", "--create"), "--into", new)
        assert hashes(server, new) == hashes(server, name)
    finally:
        server.drop_database(name)


@pytest.mark.parametrize(
    "added", ["DROP DATABASE other;", "CREATE DATABASE other;\n\\connect other", "\\connect other", "ALTER DATABASE other RENAME TO x;",
              "GRANT CONNECT ON DATABASE other TO PUBLIC;", "COMMENT ON TABLESPACE pg_default IS 'x';"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["begin", "end"])
def test_a_second_database_in_a_dump_is_refused(server, source, new, iacalls, use, tmp_path, added, where):
    use(source)
    path = Path(dump_file(server, source, tmp_path / "a.sql", "--create"))
    old = r"^CREATE TABLE" if where == "begin" else r"^-- PostgreSQL database dump complete"
    file = edit(path, (old, f"{added}\n\n" + old.lstrip("^")))
    before = databases(server)
    outcome = iacalls("backup", "restore", file, "--into", new)
    assert outcome.code == 2, outcome.err
    assert databases(server) == before


def test_a_dump_whose_comments_were_stripped(server, source, new, iacalls, use, plain):
    text = "".join(line for line in plain.read_text().splitlines(keepends=True) if not line.startswith("--"))
    plain.write_text(text)
    refused = iacalls("backup", "restore", str(plain), "--into", new)
    assert refused.code == 2
    assert "--plain" in refused.error
    outcome = restore(iacalls, str(plain), "--into", new, "--plain")
    assert "cannot be checked" in outcome.err
    assert hashes(server, new) == hashes(server, source)


def test_a_dump_without_its_last_lines(server, source, new, iacalls, plain):
    plain.write_text(plain.read_text().replace("-- PostgreSQL database dump complete", "--"))
    refused = iacalls("backup", "restore", str(plain), "--into", new)
    assert refused.code == 1
    assert "--plain" in refused.error
    restore(iacalls, str(plain), "--into", new, "--plain")
    assert hashes(server, new) == hashes(server, source)


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress])
def test_dumps_packed_by_xz_and_bzip2(server, source, new, iacalls, use, tmp_path, pack):
    use(source)
    for option in ("-Fp", "-Fc"):
        file = Path(dump_file(server, source, tmp_path / f"a{option}", option))
        file.write_bytes(pack(file.read_bytes()))
        restore(iacalls, str(file), "--into", new)
        assert hashes(server, new) == hashes(server, source)
        server.drop_database(new)


def test_a_cut_xz_or_bzip2_file_is_damaged(iacalls, new, plain):
    for pack in (lzma.compress, bz2.compress):
        packed = plain.with_name("packed")
        packed.write_bytes(pack(plain.read_bytes() * 20)[:-40])
        outcome = iacalls("backup", "restore", str(packed), "--into", new)
        assert outcome.code == 1
        assert "packed is damaged" in outcome.error


def packed_by(kind, plain):
    target = plain.with_name(f"packed{kind}")
    if kind == ".zip":
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(plain, "plain.sql")
    elif kind == ".tar":
        with tarfile.open(target, "w") as file:
            file.add(plain, "plain.sql")
    elif kind == ".tar.gz":
        with tarfile.open(target, "w:gz") as file:
            file.add(plain, "plain.sql")
    elif kind == ".lz4":
        target.write_bytes(b"\x04\x22\x4d\x18" + plain.read_bytes())
    else:
        target.write_bytes(b"7z\xbc\xaf\x27\x1c" + plain.read_bytes())
    return target


@pytest.mark.parametrize(("kind", "words"), [
    (".zip", "unzip"), (".tar", "tar -xf"), (".tar.gz", "tar -xf"), (".lz4", "lz4 -d"), (".7z", "7z x"),
])  # fmt: skip
@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_what_packs_a_dump_is_named_with_the_way_to_open_it(iacalls, new, plain, kind, words, options):
    outcome = iacalls("backup", "restore", str(packed_by(kind, plain)), "--into", new, *options)
    assert outcome.code == 2
    assert words in outcome.error
