"""Backups and dumps of databases in other encodings than UTF-8: rows, names, owners and privileges come back."""

import pytest
from psycopg import sql

from tests.support.nasty_database import dump_file
from tests.support.servers import OWNER, READER, unused_name


def connect(server, name, role=""):
    """A session that speaks UTF-8, whatever the database's encoding."""
    connection = server.connect(name, role)
    connection.execute("SET client_encoding = 'UTF8'")
    return connection


@pytest.fixture
def encoded(server):
    """Make a database in an encoding, with text, a table, a sequence and roles' privileges in it."""
    made = []

    def make(encoding):
        name = unused_name()
        provider = "LOCALE_PROVIDER libc" if server.major >= 15 else ""
        with server.connect("postgres") as connection:
            connection.execute(
                sql.SQL(f"CREATE DATABASE {{}} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' {provider} "
                        "TEMPLATE template0 OWNER {}").format(sql.Identifier(name), sql.Identifier(OWNER))
            )  # fmt: skip
        made.append(name)
        with connect(server, name) as connection:
            connection.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
        with connect(server, name, OWNER) as connection:
            connection.execute('CREATE TABLE "año" (id serial PRIMARY KEY, "qué" text); CREATE TABLE plain (id int)')
            if encoding == "SQL_ASCII":
                connection.execute("INSERT INTO \"año\" (\"qué\") VALUES (E'caf\\xe9'), ('x')")
            else:
                connection.execute("INSERT INTO \"año\" (\"qué\") VALUES ('café'), ('señal')")
            connection.execute(f'GRANT SELECT ON "año" TO {READER}')
        with connect(server, name) as connection:
            connection.execute(f'CREATE TABLE "dueño" (id int); ALTER TABLE "dueño" OWNER TO {READER}')
        return name

    yield make
    for name in made:
        server.drop_database(name)


def bytes_of(server, name, table='"año"'):
    """The rows as bytes, whatever the encoding, with the database's encoding, an owner and a privilege."""
    with connect(server, name) as connection:
        rows = connection.execute(f"""SELECT id, encode(convert_to("qué", getdatabaseencoding()), 'hex') FROM {table}
                                      ORDER BY 1""").fetchall()  # fmt: skip
        facts = connection.execute("""SELECT getdatabaseencoding()::text, (SELECT array_agg(tableowner::text ORDER BY tablename::text COLLATE "C")
            FROM pg_tables WHERE schemaname = 'public')""").fetchone()  # fmt: skip
    return rows, facts


@pytest.mark.parametrize(
    ("encoding", "form"),
    [("LATIN1", "custom"), ("LATIN1", "plain"), ("WIN1252", "directory"), ("LATIN9", "custom"),
     ("SQL_ASCII", "custom"), ("SQL_ASCII", "plain")],
)  # fmt: skip
def test_a_backup_returns_in_its_encoding_with_owners_and_grants(
    server, encoded, new, iacalls, use, tmp_path, encoding, form
):
    name = encoded(encoding)
    use(name, "")
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", "--format", form, *folder).code == 0
    outcome = iacalls("backup", "restore", name, "--into", new, *folder)
    assert outcome.code == 0, outcome.err
    assert "could not be given" not in outcome.err
    assert bytes_of(server, new) == bytes_of(server, name)
    with connect(server, new) as connection:
        granted = connection.execute(f"SELECT has_table_privilege('{READER}', 'public.año', 'SELECT')").fetchone()
    assert granted == (True,)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_restore_test_on_the_embedded_server(encoded, iacalls, use, tmp_path, data_home, encoding):
    """Its own locale provider is builtin, which knows UTF-8 alone."""
    use(encoded(encoding), "")
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    outcome = iacalls("backup", "rehearse", *folder)
    assert outcome.code == 0, outcome.err + outcome.out


@pytest.mark.parametrize("form", ["custom", "plain"])
@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252"])
def test_a_table_with_an_accent_in_its_name(server, encoded, iacalls, use, tmp_path, encoding, form):
    name = encoded(encoding)
    before = bytes_of(server, name)
    use(name)
    file = dump_file(server, name, tmp_path / "d", "-Fc" if form == "custom" else "-Fp", "--encoding", encoding)
    beside = iacalls("backup", "restore", file, "--table", "año", "-o", "json")
    assert beside.code == 0, beside.err
    schema = beside.json["data"][0]["into"].split(".")[0]
    assert bytes_of(server, name, f'{schema}."año"')[0] == before[0]
    with server.connect(name) as connection:
        connection.execute(f'DROP SCHEMA {schema} CASCADE; TRUNCATE "año"')
    filled = iacalls("backup", "restore", file, "--data-only", "--table", "año")
    assert filled.code == 0, filled.err
    assert bytes_of(server, name) == before


@pytest.mark.parametrize("options", [["-Fp"], ["-Fc"], ["-Fd"], ["-Fp", "--inserts"]])
def test_a_dump_in_sql_ascii_becomes_a_database_in_sql_ascii(server, encoded, new, iacalls, use, tmp_path, options):
    name = encoded("SQL_ASCII")
    use(name, "")
    file = dump_file(server, name, tmp_path / "d", *options, "--encoding", "SQL_ASCII")
    outcome = iacalls("backup", "restore", file, "--into", new)
    assert outcome.code == 0, outcome.err
    assert bytes_of(server, new) == bytes_of(server, name)
    again = iacalls("backup", "create", "--directory", str(tmp_path / "b"))
    assert again.code == 0, again.err


def test_a_dump_in_sql_ascii_takes_no_utf8_databases_place(server, encoded, database, iacalls, use, tmp_path):
    name = encoded("SQL_ASCII")
    file = dump_file(server, name, tmp_path / "d", "--encoding", "SQL_ASCII")
    use(database)
    outcome = iacalls("backup", "restore", file, "--replace", "--confirm", database)
    assert outcome.code == 1
    assert "SQL_ASCII" in outcome.error
    assert "--into" in outcome.error


@pytest.mark.parametrize("way", [["--data-only"], ["--table", "plain"]])
def test_bytes_that_are_no_text_come_into_no_utf8_table(server, empty_database, iacalls, use, tmp_path, way):
    with server.connect(empty_database, OWNER) as connection:
        connection.execute("CREATE TABLE plain (a text)")
    text = (
        b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'SQL_ASCII';\n\nCREATE TABLE public.plain (\n"
        b"    a text\n);\n\nCOPY public.plain (a) FROM stdin;\ncaf\xe9\n\\.\n\n--\n-- PostgreSQL database dump complete\n--\n"
    )
    (tmp_path / "d.sql").write_bytes(text)
    use(empty_database)
    outcome = iacalls("backup", "restore", str(tmp_path / "d.sql"), *way)
    assert outcome.code == 1
    assert "invalid byte sequence" in outcome.error


@pytest.mark.parametrize("client", ["SJIS", "EUC_JP", "BIG5", "GB18030", "UHC"])
def test_a_dump_in_an_encoding_of_clients(server, empty_database, new, iacalls, use, tmp_path, client):
    """Their second bytes may be a backslash or a quote."""
    words = {"SJIS": "ソ表能", "EUC_JP": "日本", "BIG5": "功許蓋", "GB18030": "中文乗", "UHC": "한국"}[client]
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(f"CREATE TABLE t (a text DEFAULT '{words}'); COMMENT ON TABLE t IS E'{words}\\\\\\'{words}'")
        connection.execute("INSERT INTO t VALUES (%s), (%s)", [words, words + "\\"])
        before = connection.execute("SELECT a, obj_description('t'::regclass) FROM t ORDER BY a").fetchall()
    file = dump_file(server, empty_database, tmp_path / "d.sql", "--encoding", client)
    use(empty_database)
    outcome = iacalls("backup", "restore", file, "--into", new)
    assert outcome.code == 0, outcome.err
    with server.connect(new) as connection:
        assert connection.execute("SELECT a, obj_description('t'::regclass) FROM t ORDER BY a").fetchall() == before


def test_a_plain_dump_that_begins_with_a_byte_order_mark(server, empty_database, new, iacalls, use, tmp_path):
    with server.connect(empty_database, OWNER) as connection:
        connection.execute("CREATE TABLE t AS SELECT 'ñ' AS a")
    file = dump_file(server, empty_database, tmp_path / "d.sql")
    (tmp_path / "d.sql").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "d.sql").read_bytes())
    use(empty_database)
    outcome = iacalls("backup", "restore", file, "--into", new)
    assert outcome.code == 0, outcome.err
