r"""Statements of a dump on a real server: what pg_dump writes passes, everything else ends the restore unrun."""

import tempfile
from pathlib import Path

import pytest

from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.backup.forms import CALL_OF
from tests.support.nasty_database import dump

HEAD = b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n"
TABLE = b"CREATE TABLE public.t (\n    a integer\n);\n\n"
FOOT = b"\n--\n-- PostgreSQL database dump complete\n--\n"
# Everything of the server that is no part of one database.
SHARED = """
SELECT 'role', to_jsonb(r) - 'rolpassword' FROM pg_roles AS r UNION ALL
SELECT 'member', to_jsonb(m) - 'oid' FROM pg_auth_members AS m UNION ALL
SELECT 'database', to_jsonb(d) - 'datfrozenxid' - 'datminmxid' FROM pg_database AS d UNION ALL
SELECT 'tablespace', to_jsonb(t) FROM pg_tablespace AS t UNION ALL
SELECT 'setting', to_jsonb(s) FROM pg_db_role_setting AS s UNION ALL
SELECT 'comment', to_jsonb(c) FROM pg_shdescription AS c UNION ALL
SELECT 'label', to_jsonb(l) FROM pg_shseclabel AS l UNION ALL
SELECT 'parameter', to_jsonb(p) FROM pg_parameter_acl AS p UNION ALL
SELECT 'file', to_jsonb(f) FROM pg_file_settings AS f WHERE sourcefile LIKE '%auto.conf'
"""


@pytest.fixture
def mallory(server):
    """A role that an attacker would like to be more."""
    with server.connect("postgres") as connection:
        connection.execute("CREATE ROLE mallory NOLOGIN")
    yield "mallory"
    with server.connect("postgres") as connection:
        connection.execute("DROP ROLE mallory")


@pytest.fixture
def witness():
    """A path that the server's account could write to."""
    with tempfile.TemporaryDirectory(prefix="iacalls-witness-") as folder:
        Path(folder).chmod(0o777)
        yield Path(folder) / "ran"


@pytest.fixture
def shared(server, mallory):
    """What the server has beyond its databases' contents, as sorted text."""

    def look():
        with server.connect("postgres") as connection:
            query = SHARED if server.major >= 15 else SHARED.replace("SELECT 'parameter', to_jsonb(p) FROM pg_parameter_acl AS p UNION ALL", "")  # fmt: skip
            return sorted(str(row) for row in connection.execute(query).fetchall())

    return look


@pytest.fixture(scope="module")
def empty_database(server):
    """One for all tests here: they restore into others."""
    name = server.create_database()
    yield name
    server.drop_database(name)


@pytest.fixture
def new(server, empty_database):
    """The name of a database to restore into; dropped afterwards."""
    name = f"{empty_database}_new"
    yield name
    server.drop_database(name)


@pytest.fixture
def restore(iacalls, tmp_path, use, empty_database, new):
    """Restore a plain dump of these statements into a new database, as the superuser unless a role is named."""

    def run(body, *, head=HEAD, role="", options=()):
        path = tmp_path / "dump.sql"
        path.write_bytes(head + body + FOOT)
        use(empty_database, role)
        return iacalls("backup", "restore", str(path), "--into", new, *options)

    return run


@pytest.fixture
def refused(restore, shared, witness, server):
    """Have a script refused: nothing of it ran, nothing of it is left, and the error has these words."""

    def check(body, *, code=2, words="that no dump of one database has", head=HEAD):
        before = shared()
        body = body.replace(b"WITNESS", str(witness).encode())
        outcome = restore(body, head=head)
        assert outcome.code == code, outcome.err
        assert words in outcome.error
        assert shared() == before
        assert not witness.exists()

    return check


@pytest.fixture
def accepted(restore, server, new):
    """Have a script restored; returns a session in the new database."""
    opened = []

    def run(body, **options):
        outcome = restore(body, **options)
        assert outcome.code == 0, outcome.err
        opened.append(server.connect(new))
        return opened[-1]

    yield run
    for connection in opened:
        connection.close()


PROGRAMS = [
    b"COPY public.t FROM PROGRAM 'touch WITNESS';",
    b"COPY public.t FROM PROGRAM E'touch WITNESS';",
    b"COPY public.t FROM PROGRAM $$touch WITNESS$$;",
    b"COPY public.t FROM PROGRAM $x$touch WITNESS$x$;",
    b"COPY public.t FROM PROGRAM U&'touch WITNESS';",
    b"copy public.t (a) from/**/program 'touch WITNESS';",
    b"COPY public.t TO PROGRAM 'touch WITNESS';",
    b"COPY (SELECT 1) TO PROGRAM 'touch WITNESS';",
    b"COPY public.t TO 'WITNESS';",
    b"COPY public.t FROM '/etc/passwd';",
    b"COPY public.t TO stdout;",
    # The table is called stdin.
    b"CREATE TABLE public.stdin (a integer);\nCOPY (SELECT (1) FROM public.stdin) TO PROGRAM 'touch WITNESS';",
    b"SET search_path = public;\nCREATE TABLE public.stdin (a integer);\n"
    b"COPY (SELECT (1) FROM stdin) TO PROGRAM 'touch WITNESS';",
    b"SET search_path = public;\nCREATE TABLE public.stdin (a integer);\n"
    b"COPY (SELECT (1), a FROM stdin WHERE true) TO PROGRAM 'touch WITNESS';\n\\.\n",
    b"COPY public.t FROM stdin WHERE pg_catalog.pg_file_write('WITNESS', '', false) > 0;\n1\n\\.\n",
]


@pytest.mark.parametrize("statement", PROGRAMS)
def test_copy_reads_rows_of_the_script_and_nothing_else(refused, statement):
    refused(TABLE + statement + b"\n")


ROLES = [
    b"CREATE ROLE intruder SUPERUSER;", b"CREATE USER intruder;", b"CREATE GROUP intruder;",
    b"ALTER ROLE mallory SUPERUSER;", b"ALTER USER mallory SUPERUSER;", b"ALTER GROUP postgres ADD USER mallory;",
    b"ALTER ROLE mallory SET search_path = x;", b"ALTER ROLE ALL SET work_mem = '1MB';",
    b"DROP ROLE mallory;", b"DROP USER mallory;", b"DROP GROUP mallory;", b"DROP ROLE IF EXISTS mallory;",
    # MAPPING is a role's name here.
    b"CREATE USER mapping SUPERUSER;", b"CREATE USER mapping;", b"CREATE USER MAPPING WITH LOGIN;",
    b"ALTER USER mapping SUPERUSER;", b"DROP USER mapping;",
    b"GRANT postgres TO mallory;", b"GRANT pg_execute_server_program TO mallory;",
    b"grant postgres, pg_monitor to mallory with admin option;", b"GRANT postgres TO mallory WITH INHERIT TRUE;",
    b"GRANT postgres TO mallory GRANTED BY postgres;", b"GRANT/**/postgres/**/TO/**/mallory;",
    b'GRANT "postgres" TO "mallory";', b'GRANT U&"postgre\\0073" TO mallory;', b"GRANT postgres TO GROUP mallory;",
    b"REVOKE postgres FROM mallory;", b"REVOKE ADMIN OPTION FOR postgres FROM mallory CASCADE;",
    b"GRANT pg_read_all_data TO public;", b"GRANT postgres TO CURRENT_USER;",
    b"REASSIGN OWNED BY mallory TO postgres;", b"DROP OWNED BY mallory;",
    b"INSERT INTO pg_catalog.pg_authid SELECT * FROM pg_catalog.pg_authid;",
    b"INSERT INTO pg_catalog.pg_auth_members VALUES (1, 2, 3, true);",
    b"INSERT INTO pg_auth_members VALUES (1, 2, 3, true);",
    b'INSERT INTO "pg_catalog"."pg_auth_members" VALUES (1, 2, 3, true);',
    b'INSERT INTO U&"pg\\005fcatalog".pg_auth_members VALUES (1, 2, 3, true);',
    b"COPY pg_catalog.pg_db_role_setting FROM stdin;\n0\t10\t{work_mem=1MB}\n\\.\n",
    b"COPY pg_db_role_setting (setdatabase, setrole, setconfig) FROM stdin;\n0\t10\t{work_mem=1MB}\n\\.\n",
    b"COMMENT ON ROLE mallory IS 'x';", b"SECURITY LABEL FOR p ON ROLE mallory IS 'x';",
    b"UPDATE pg_catalog.pg_authid SET rolsuper = true;", b"DELETE FROM pg_catalog.pg_authid;",
    b"WITH a AS (DELETE FROM pg_catalog.pg_authid RETURNING *) SELECT 1;", b"MERGE INTO public.t USING x ON true;",
]  # fmt: skip


@pytest.mark.parametrize("statement", ROLES)
def test_no_role_is_made_changed_or_given(refused, statement):
    refused(TABLE + statement + b"\n")


SERVER_WIDE = [
    b"CREATE DATABASE intruder;", b"DROP DATABASE {live};", b"ALTER DATABASE {live} RENAME TO x;",
    b"ALTER DATABASE {live} SET work_mem = '1MB';", b"ALTER DATABASE {live} OWNER TO mallory;",
    b"CREATE TABLESPACE x LOCATION '/tmp';", b"ALTER TABLESPACE pg_default OWNER TO mallory;",
    b"ALTER TABLESPACE pg_default SET (seq_page_cost = 2);", b"DROP TABLESPACE pg_default;",
    b"ALTER SYSTEM SET work_mem = '1MB';", b"ALTER SYSTEM RESET ALL;",
    b"GRANT ALL ON DATABASE {live} TO mallory;", b"REVOKE CONNECT ON DATABASE {live} FROM public;",
    b'GRANT ALL ON DATABASE "{live}" TO mallory;', b"GRANT CREATE ON TABLESPACE pg_default TO mallory;",
    b"GRANT SET ON PARAMETER log_statement TO mallory;", b"GRANT ALTER SYSTEM ON PARAMETER work_mem TO mallory;",
    b"GRANT ALL/**/ON/**/DATABASE/**/{live}/**/TO/**/mallory;",
    b"GRANT ALL ON DATABASE {live}, postgres TO mallory WITH GRANT OPTION GRANTED BY postgres;",
    b"CREATE SCHEMA s GRANT ALL ON DATABASE {live} TO mallory;",
    b"CREATE SCHEMA s AUTHORIZATION postgres GRANT ALL ON DATABASE {live} TO mallory;",
    b"CREATE SCHEMA IF NOT EXISTS s CREATE TABLE x (a integer);",
    b"COMMENT ON TABLESPACE pg_default IS 'x';", b"SECURITY LABEL FOR p ON TABLESPACE pg_default IS 'x';",
    b"IMPORT FOREIGN SCHEMA x FROM SERVER y INTO public;", b"CHECKPOINT;", b"LOAD 'auto_explain';",
    b"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p;",
    b"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = true);",
    b"CREATE SUBSCRIPTION s CONNECTION 'dbname=x WITH (connect = false)' PUBLICATION p;",
    b"ALTER SUBSCRIPTION s ENABLE;",
]  # fmt: skip


@pytest.mark.parametrize("statement", SERVER_WIDE)
def test_nothing_beyond_the_new_database_is_touched(refused, statement, empty_database):
    refused(TABLE + statement.replace(b"{live}", empty_database.encode()) + b"\n")


RUN = [
    b"DO $$BEGIN EXECUTE 'ALTER ROLE mallory SUPERUSER'; END$$;", b"CALL public.p();", b"EXPLAIN ANALYZE SELECT 1;",
    b"SELECT pg_catalog.pg_terminate_backend(1);", b"SELECT 1;", b"SELECT;", b"TABLE public.t;", b"VALUES (1);",
    b"(SELECT 1);", b"SELECT * FROM public.t;", b"SELECT setval('public.s', 1), pg_catalog.pg_sleep(0);",
    b"SELECT pg_catalog.setval('public.s', pg_catalog.lo_export(1, 'WITNESS'));", b"SELECT lo_export(1, 'WITNESS');",
    b"SELECT lo_import('/etc/passwd');", b"SELECT pg_catalog.lo_create(1) INTO public.x;",
    b"SELECT pg_catalog.setval('a', 1, true) FROM public.t;", b"SELECT public.setval('a', 1, true);",
    b"SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false);",
    b"SELECT pg_catalog.set_config('role', 'postgres', false);", b"SELECT set_config(E'search_path', '', false);",
    b"SELECT pg_catalog.set_config('search_path', '', false), pg_catalog.pg_sleep(0);",
    b"INSERT INTO public.t SELECT 1;", b"INSERT INTO public.t (a) SELECT pg_catalog.lo_export(1, 'WITNESS');",
    b"INSERT INTO public.t (SELECT 1);", b"INSERT INTO public.t TABLE public.t;",
    b"INSERT INTO public.t VALUES (pg_catalog.lo_export(1, 'WITNESS'));", b"INSERT INTO public.t VALUES ((SELECT 1));",
    b"INSERT INTO public.t VALUES (1) RETURNING pg_catalog.pg_sleep(0);", b"INSERT INTO public.t VALUES (1 + 1);",
    b"INSERT INTO public.t WITH x AS (DELETE FROM public.t RETURNING a) SELECT a FROM x;",
    b"INSERT INTO public.t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = pg_catalog.pg_sleep(0);",
    b"INSERT INTO public.t VALUES (current_user);", b"INSERT INTO public.t AS x VALUES (1);",
    rb"INSERT INTO public.t VALUES ('\', pg_catalog.lo_export(1, 'WITNESS'), '\');",
    b"CREATE TABLE public.x AS SELECT pg_catalog.lo_export(1, 'WITNESS');",
    b"CREATE TABLE public.x (a) AS EXECUTE p;", b"CREATE TABLE public.x (a) WITH (fillfactor = 70) AS SELECT 1;",
    b"CREATE TEMPORARY TABLE x (a int);", b"CREATE TABLE IF NOT EXISTS public.x AS TABLE public.t;",
    b"PREPARE p AS SELECT 1;", b"EXECUTE p;", b"DEALLOCATE p;", b"DECLARE c CURSOR FOR SELECT 1;", b"LISTEN x;",
    b"LOCK TABLE public.t;", b"TRUNCATE public.t;", b"CLUSTER;", b"REINDEX SYSTEM;", b"NOTIFY x;", b"DISCARD ALL;",
    b"SHOW work_mem;", b"SAVEPOINT a;", b"ROLLBACK;", b"ABORT;", b"RELEASE a;", b"PREPARE TRANSACTION 'x';",
    b"COMMIT PREPARED 'x';", b"BEGIN;\nCOMMIT AND CHAIN;", b"END AND CHAIN;", b"BEGIN ISOLATION LEVEL SERIALIZABLE;",
    b"; SELECT 1;", b"\xc2\xa0SELECT 1;", b'U&"x";', b"'x';",
]  # fmt: skip


@pytest.mark.parametrize("statement", RUN)
def test_what_runs_code_of_the_script_is_refused(refused, statement):
    refused(TABLE + statement + b"\n")


def test_a_calls_text_is_the_same_however_backslashes_are_read():
    ends = (rb"'\'", b"'\x83\\'", b"E'\x83\\'", rb"'a\'b'", rb"E'\\\'")
    assert [end for end in ends if CALL_OF.fullmatch(b"SELECT lo_create(" + end + b");")] == []
    texts = (rb"'\x00'", rb"'a\\'", b"'a''b'", rb"E'a\nb'", b"'public.\"a\\b\"'", b"''", b"'\xc3\xb1'")
    assert [text for text in texts if not CALL_OF.fullmatch(b"SELECT lo_create(" + text + b");")] == []


HIDDEN = [
    b"SELECT 1 --\r; ALTER ROLE mallory SUPERUSER;\n;\n",
    b"-- \rALTER ROLE mallory SUPERUSER;\n",
    b"SET a = b; -- x\r ALTER ROLE mallory SUPERUSER;\n",
    b"SET standard_conforming_strings = off;\nCOMMENT ON TABLE public.t IS '\\'';ALTER ROLE mallory SUPERUSER;--';\n",
    b"SET standard_conforming_strings = off; COMMENT ON TABLE public.t IS '\\''; ALTER ROLE mallory SUPERUSER;--';\n",
    b"CREATE FUNCTION public.begin() RETURNS integer LANGUAGE sql AS 'select 1';\nALTER ROLE mallory SUPERUSER;\nEND;\n",
    b"CREATE FUNCTION public.f(begin date) RETURNS integer LANGUAGE sql AS 'select 1';\nALTER ROLE mallory SUPERUSER;\n",
    b"CREATE FUNCTION public.f() RETURNS TABLE(begin int, atomic int) LANGUAGE sql AS 'select 1, 1';\n"
    b"ALTER ROLE mallory SUPERUSER;\nEND;\n",
    b"CREATE VIEW public.v AS SELECT a AS begin, a AS atomic FROM public.t;\nALTER ROLE mallory SUPERUSER;\nEND;\n",
    b"/* /* */ ; */ ALTER /* */ ROLE mallory SUPERUSER;\n",
    b"COPY public.t FROM stdin; ALTER ROLE mallory SUPERUSER;\n1\n\\.\n",
    b"/* x */ COPY public.t FROM stdin; ALTER ROLE mallory SUPERUSER;\n1\n\\.\n",
    b"COPY public.t FROM stdin;\n\\.\nALTER ROLE mallory SUPERUSER;\n\\.\n",
    b"COMMENT ON TABLE public.t IS E'\\'';ALTER ROLE mallory SUPERUSER;--';\n",
    b"COMMENT ON TABLE public.t IS E'a'\n'\\'';ALTER ROLE mallory SUPERUSER;--';\n",
    b"COMMENT ON TABLE public.t IS 'a'\n'\\';ALTER ROLE mallory SUPERUSER;--';\n",
    b"COMMENT ON TABLE public.t IS U&'a\\\\';ALTER ROLE mallory SUPERUSER;--';\n",
    b"COMMENT ON TABLE public.t IS $a$ $b$ $a$;ALTER ROLE mallory SUPERUSER;-- $b$;\n",
    "SET client_encoding = 'SJIS';\nCOMMENT ON TABLE public.t IS E'ソ';ALTER ROLE mallory SUPERUSER;--';\n".encode("cp932"),
    b"SET client_encoding = 'BIG5';\nCOMMENT ON TABLE public.t IS E'\xa5\\';ALTER ROLE mallory SUPERUSER;--';\n",
    b"SET client_encoding = 'GBK';\nCOMMENT ON TABLE public.t IS E'\x84\\';ALTER ROLE mallory SUPERUSER;--';\n",
]  # fmt: skip


@pytest.mark.parametrize("script", HIDDEN)
def test_a_statement_that_hides_behind_another_is_found(refused, script):
    refused(TABLE + script)


NUL = [
    b"GRANT postgres TO mallory\0 ON TABLE public.t TO mallory;\n",
    b"ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO mallory\0;\n",
    b"CREATE TABLE public.x\0 (a integer);\n",
    b"\0ALTER ROLE mallory SUPERUSER;\n",
    b"COMMENT ON TABLE public.t IS 'a\0b';\n",
]


@pytest.mark.parametrize("script", NUL)
def test_text_the_server_would_not_read_to_its_end_is_refused(refused, script):
    refused(TABLE + script, code=1, words="holds a NUL character")


def test_a_nul_among_rows_is_an_error(refused):
    refused(b"CREATE TABLE public.x (a text);\nCOPY public.x FROM stdin;\na\0b\n\\.\n", code=1, words="0x00")


def test_settings_that_a_dump_has_not_are_left_out(accepted):
    body = TABLE + (
        b"SET ROLE mallory;\nRESET ROLE;\nSET SESSION AUTHORIZATION DEFAULT;\nRESET SESSION AUTHORIZATION;\n"
        b'SET "role" = mallory;\nSET session_replication_role = replica;\nSET LOCAL work_mem = 64;\nRESET ALL;\n'
        b"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;\nSET TRANSACTION READ ONLY;\nSET zero_damaged_pages = on;\n"
        b"SET/**/xmloption = content;\nCREATE TABLE public.who (a integer);\n"
    )
    connection = accepted(body)
    assert connection.execute("SELECT pg_get_userbyid(relowner) = current_user FROM pg_class WHERE relname = 'who'").fetchone() == (True,)  # fmt: skip


def test_a_databases_comment_in_an_old_dump_is_left_out_and_said(restore, shared, empty_database):
    before = [line for line in shared() if "_new" not in line]
    outcome = restore(TABLE + f"COMMENT ON DATABASE {empty_database} IS 'x';\n".encode())
    assert outcome.code == 0, outcome.err
    assert "left out: comment on the database" in outcome.err
    assert [line for line in shared() if "_new" not in line] == before


def test_standard_strings_that_a_function_switches_off(refused):
    script = (
        b"CREATE FUNCTION public.f(integer) RETURNS boolean LANGUAGE sql IMMUTABLE"
        b" AS $$SELECT pg_catalog.set_config('standard_conforming_strings', 'off', false) IS NOT NULL$$;\n"
        b"ALTER TABLE public.t ADD CHECK (public.f(a));\nCOPY public.t FROM stdin;\n1\n\\.\n"
        b"COMMENT ON TABLE public.t IS '\\'';ALTER ROLE mallory SUPERUSER;--';\n"
    )
    refused(TABLE + script)


@pytest.mark.parametrize(
    "script",
    [
        b"BEGIN;\n" + TABLE + b"COPY public.t FROM stdin;\n1\n\\.\n",
        TABLE + b"COMMIT;\nSTART TRANSACTION;\nCOPY public.t FROM stdin;\n1\n\\.\n",
        b"BEGIN;\n" + TABLE + b"COMMIT;\nBEGIN;\nCREATE VIEW public.v AS SELECT 1;\n",
        TABLE + b"BEGIN;\nCOPY public.t FROM stdin;\n1\n\\.\nBEGIN;\n",
    ],
)
def test_a_transaction_that_is_not_ended_is_an_error(refused, script):
    refused(script, code=1, words="begins a transaction and does not end it")


@pytest.mark.parametrize(
    "script",
    [
        # The server ends a failed transaction with ROLLBACK, whatever is asked for.
        b"BEGIN;\n" + TABLE + b"COPY public.t FROM stdin;\n1\n\\.\nDROP TABLE public.nosuch;\nCOMMIT;\n",
        b"BEGIN;\n" + TABLE + b"COMMENT ON EXTENSION plpgsql_x IS 'x';\nCREATE SCHEMA public;\nEND;\n",
        TABLE + b"BEGIN;\nCOPY public.t FROM stdin;\n1\n\\.\nSET xmloption = 'nonsense';\nCOMMIT;\n",
    ],
)
def test_an_error_in_a_transaction_of_the_script_is_no_small_one(refused, script):
    refused(script, code=1, words="(in: ")


def live(server, name):
    with server.connect(name) as connection:
        return connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()


@pytest.mark.parametrize("how", ["unclosed", "rolled back"])
def test_a_used_database_is_not_replaced_by_what_is_rolled_back(server, filled_database, iacalls, use, tmp_path, how):
    text = dump(server, filled_database)
    start = text.index("SET statement_timeout")
    text = text[:start] + "BEGIN;\n" + text[start:]
    if how == "rolled back":
        end = text.index("--\n-- PostgreSQL database dump complete")
        text = text[:end] + "DROP TABLE public.nosuch;\nCOMMIT;\n" + text[end:]
    path = tmp_path / "dump.sql"
    path.write_text(text)
    use(filled_database)
    before = live(server, filled_database)
    with server.connect(filled_database) as connection:
        rows = connection.execute("SELECT count(*) FROM public.clients").fetchone()
    outcome = iacalls("backup", "restore", str(path), "--replace", "--confirm", filled_database)
    assert outcome.code == 1, outcome.err
    with server.connect(filled_database) as connection:
        assert connection.execute("SELECT count(*) FROM public.clients").fetchone() == rows
        names = [row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()]
    assert live(server, filled_database) == before
    assert [name for name in names if name.startswith(f"{filled_database}.")] == []


@pytest.mark.parametrize(
    "line",
    [b"\\! touch WITNESS", b"\\i /etc/passwd", b"COMMENT ON TABLE public.t IS 'x'; \\! touch WITNESS",
     b"\\copy public.t from program 'touch WITNESS'", b"\\o |touch WITNESS", b"\\set pw 'canary'"],
)  # fmt: skip
def test_a_command_of_psql_is_not_obeyed(refused, line):
    refused(TABLE + line + b"\n", words="command for psql")


@pytest.mark.parametrize(
    "line", [b" \\! touch WITNESS\n;", b"COMMENT ON TABLE public.t IS 'x' \\! touch WITNESS\n;", b"COMMENT ON TABLE public.t IS 'x' \\gexec\n;"]
)  # fmt: skip
def test_a_command_of_psql_in_mid_line_is_an_error(restore, witness, line):
    assert restore(TABLE + line.replace(b"WITNESS", str(witness).encode()) + b"\n").code in (1, 2)
    assert not witness.exists()


def test_a_command_of_psql_is_named_without_its_arguments(restore):
    outcome = restore(TABLE + b"\\connect 'host=x password=canary'\n")
    assert outcome.code == 2
    assert "canary" not in outcome.err


HONEST = {
    "parameter": 'CREATE FUNCTION public.f(begin date, finish date, atomic int, "end" int, "case" int) RETURNS int'
    "\n    LANGUAGE sql\n    AS $$ select 1 $$;",
    "out": "CREATE FUNCTION public.f(OUT begin date, OUT atomic int) RETURNS record\n    LANGUAGE sql AS $$ select null::date, 1 $$;",
    "table": "CREATE FUNCTION public.f() RETURNS TABLE(begin int, atomic int)\n    LANGUAGE sql AS $$ select 1, 1 $$;",
    "name": "CREATE FUNCTION public.begin() RETURNS int\n    LANGUAGE sql AS $$ select 1 $$;\n"
    "CREATE FUNCTION public.atomic() RETURNS int\n    LANGUAGE sql AS $$ select 1 $$;",
    "type": "CREATE TYPE public.begin AS ENUM ('a;');\nCREATE TYPE public.atomic AS (begin int, atomic int);\n"
    "CREATE FUNCTION public.f(public.begin) RETURNS public.begin\n    LANGUAGE sql AS $$ select $1 $$;",
    "type and body": "CREATE TYPE public.begin AS ENUM ('a;');\nCREATE FUNCTION public.f(a public.begin) RETURNS public.begin\n"
    "    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT f.a;\nEND;",
    "schema": "CREATE SCHEMA begin;\nCREATE SCHEMA atomic;\nCREATE TABLE begin.atomic (begin int, atomic int);\n"
    "CREATE FUNCTION begin.atomic() RETURNS int\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT atomic.begin\n    FROM begin.atomic;\nEND;",
    "columns": 'CREATE TABLE public.t (begin int, atomic int, "end" int, "case" int);\n'
    "CREATE FUNCTION public.f() RETURNS SETOF int\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT t.begin,\n        t.atomic,\n"
    '        t."end" AS "end",\n            CASE\n                WHEN (t.begin > 1) THEN\n                CASE t.atomic\n'
    '                    WHEN 1 THEN t."case"\n                    ELSE 2\n                END\n                ELSE 3\n            END AS "case"\n'
    "   FROM public.t;\nEND;".replace("SETOF int", "TABLE(a int, b int, c int, d int)"),
    "procedure": "CREATE TABLE public.t (begin int);\nCREATE PROCEDURE public.p(IN begin int)\n    LANGUAGE sql\n    BEGIN ATOMIC\n"
    " INSERT INTO public.t (begin)\n   VALUES (p.begin);\n DELETE FROM public.t\n   WHERE (t.begin = 1);\nEND;",
    "empty": "CREATE PROCEDURE public.p()\n    LANGUAGE sql\n    BEGIN ATOMIC\nEND;",
    "return": "CREATE FUNCTION public.f(begin int) RETURNS int\n    LANGUAGE sql IMMUTABLE\n    RETURN (begin + 1);",
    "label": "CREATE FUNCTION public.f() RETURNS int\n    LANGUAGE plpgsql AS $$\n<<atomic>>\nbegin\n  begin\n return case when true then 1 end;\n"
    "  end;\nend atomic;\n$$;",
    "view": "CREATE TABLE public.t (begin int, atomic int);\nCREATE VIEW public.v AS\n SELECT begin,\n    begin AS atomic,\n"
    '        CASE\n            WHEN (begin > 1) THEN 1\n            ELSE 2\n        END AS "end"\n   FROM public.t begin;',
    "rule": "CREATE TABLE public.t (begin int);\nCREATE RULE begin AS\n    ON INSERT TO public.t DO INSTEAD ( DELETE FROM public.t;\n"
    " UPDATE public.t SET begin = 1;\n);",
    "trigger": "CREATE TABLE public.begin (a int);\nCREATE FUNCTION public.g() RETURNS trigger LANGUAGE plpgsql AS 'begin return new; end';\n"
    "CREATE TRIGGER begin BEFORE INSERT ON public.begin FOR EACH ROW EXECUTE FUNCTION public.g();",
    "unicode": "CREATE TABLE public.U&\"d\\0061ta;\" (a int);\nCOMMENT ON TABLE public.\"data;\" IS U&'d\\0061;';",
    "quotes": "CREATE TABLE public.t (a text DEFAULT 'a;''b'::text, b text DEFAULT E'a\\';\\\\', c text DEFAULT 'a\\');\n"
    "COMMENT ON COLUMN public.t.a IS 'one;'\n  'two;';\nCOMMENT ON COLUMN public.t.b IS E'one\\';' -- two\n  'two\\';';",
    "comments": "CREATE TABLE public.t ( -- ;'\n a int /* ; /* nested; */ ' */\n);\n/* ; */ CREATE TABLE public.x ();",
    "dollars": "CREATE FUNCTION public.f$1(a$b int) RETURNS text LANGUAGE sql AS $_$ SELECT '$$;$a$' $_$; CREATE TABLE public.a$$b (a int);",
    "transaction": "BEGIN;\nSELECT pg_catalog.lo_create('4242');\nSELECT pg_catalog.lo_open('4242', 131072);\n"
    "SELECT pg_catalog.lowrite(0, '\\x5c3b27');\nSELECT pg_catalog.lo_close(0);\nCOMMIT;",
    "two on a line": "CREATE TABLE public.t (a int); CREATE TABLE public.x (a int); -- and;",
    "no end": "CREATE TABLE public.t (a int);\n-- the end",
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_words_and_quotes_of_every_kind_pass(accepted, name, line_end):
    body = HONEST[name] + "\n\nCREATE TABLE public.reached (a integer);\n"
    connection = accepted(body.replace("\n", line_end).encode())
    assert connection.execute("SELECT to_regclass('public.reached') IS NOT NULL").fetchone() == (True,)


def test_an_in_order_copy_of_every_shape(accepted):
    connection = accepted(
        b"CREATE TABLE public.t (a text, b text);\n"
        b"COPY public.t FROM stdin;\n;\t\\\\.\n\\.\nCOPY public.t (a, b) FROM stdin WITH (FREEZE OFF);\n1\t2\n\\.\n"
        b"/* of; */ COPY public.t (b) FROM stdin;\n3\n\\.\ncopy\npublic.t (a)\nfrom STDIN;\n4\n\\.\n"
        b"COPY public.t (a) FROM stdin WITH NULL AS '!';\n!\n\\.\nCOPY public.t FROM stdin; -- rows\n\\.\n"
        b'CREATE TABLE public."from stdin; (" ("from" text);\nCOPY public."from stdin; (" ("from") FROM stdin;\n5\n\\.\n'
    )
    found = connection.execute("SELECT a, b FROM public.t").fetchall()
    assert found == [(";", "\\."), ("1", "2"), (None, "3"), ("4", None), (None, None)]
    assert connection.execute('SELECT * FROM public."from stdin; ("').fetchall() == [("5",)]


def test_rows_of_a_script_without_a_line_end_at_its_end(accepted):
    connection = accepted(TABLE + b"COPY public.t FROM stdin;\n1\n\\.\n" + FOOT.rstrip())
    assert connection.execute("SELECT a FROM public.t").fetchall() == [(1,)]


def test_inserts_as_pg_dump_writes_them(accepted):
    connection = accepted(
        b"CREATE TABLE public.t (a text, b integer, c numeric, d boolean, e bit(3), f integer GENERATED ALWAYS AS IDENTITY);\n"
        b"INSERT INTO public.t OVERRIDING SYSTEM VALUE VALUES ('a;''b\\', -1, 1.5e-30, true, B'101', 1);\n"
        b"INSERT INTO public.t (a, b, c, d, e, f) OVERRIDING SYSTEM VALUE VALUES\n\t('', NULL, 'NaN', false, NULL, 2),\n"
        b"\t(E'\\\\;\\'', 2147483647, -0.5, NULL, B'000', 3) ON CONFLICT DO NOTHING;\n"
        b"INSERT INTO public.t VALUES ('x;\ny', DEFAULT);\nINSERT INTO public.t DEFAULT VALUES;\n"
        b"SET standard_conforming_strings = off;\nINSERT INTO public.t VALUES ('a\\'b\\\\');\n"
    )
    found = [row[0] for row in connection.execute("SELECT a FROM public.t ORDER BY ctid").fetchall()]
    assert found == ["a;'b\\", "", "\\;'", "x;\ny", None, "a'b\\"]


@pytest.mark.parametrize("encoding", ["SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"])
def test_scripts_in_encodings_with_backslashes_as_second_bytes(server, accepted, encoding):
    with server.connect("postgres") as connection:
        # A character of two bytes, whose second is a backslash or another byte that means something in SQL.
        connection.execute("SET client_encoding = UTF8")
        words = []
        for second in (0x5C, 0x7C, 0x41, 0x7B, 0x5B):
            for first in (0x83, 0xA5, 0x8A, 0xB0, 0xC9, 0x90):
                try:
                    row = connection.execute("SELECT convert_from(%s, %s)", [bytes([first, second]), encoding]).fetchone()  # fmt: skip
                    words.append((bytes([first, second]), row[0]))
                    break
                except DatabaseError:
                    continue
    if not words:
        pytest.skip(f"{encoding} has no such character that PostgreSQL converts")
    values = b"".join(
        b"INSERT INTO public.t VALUES ('%s'), (E'%s'), (E'%s''');\n" % (raw, raw, raw) for raw, _ in words
    )
    connection = accepted(
        f"SET client_encoding = '{encoding}';\n".encode()
        + b"CREATE TABLE public.t (a text);\n" + values + b"".join(b"COMMENT ON TABLE public.t IS E'%s';\n" % raw for raw, _ in words)
        + b"COPY public.t FROM stdin;\n" + words[-1][0] + b"\n\\.\n"
    )  # fmt: skip
    found = [row[0] for row in connection.execute("SELECT a FROM public.t").fetchall()]
    expected = [text for _, word in words for text in (word, word, word + "'")] + [words[-1][1]]
    assert found == expected


@pytest.mark.parametrize("encoding", ["EUC_TW", "EUC_JIS_2004", "MULE_INTERNAL", "WIN1258", "LATIN10", "SQL_ASCII"])
def test_scripts_in_encodings_that_python_may_not_know(accepted, encoding):
    connection = accepted(f"SET client_encoding = '{encoding}';\n".encode() + TABLE + b"GRANT SELECT ON TABLE public.t TO public;\n")  # fmt: skip
    assert connection.execute("SELECT count(*) FROM public.t").fetchone() == (0,)


def test_a_byte_order_mark_before_windows_line_ends(accepted):
    script = b"\xef\xbb\xbf" + (HEAD + TABLE + b"COPY public.t FROM stdin;\n1\n\\.\n").replace(b"\n", b"\r\n")
    connection = accepted(b"", head=script)
    assert connection.execute("SELECT a FROM public.t").fetchall() == [(1,)]


def test_names_that_begin_as_the_catalog_s_do(refused):
    refused(TABLE + b"COPY information_schema.sql_features FROM stdin;\n\\.\n")


@pytest.mark.parametrize(
    ("way", "statement"),
    [
        (["--data-only", "--yes"], b"INSERT INTO public.t WITH x AS (DELETE FROM public.live RETURNING a) SELECT a FROM x;"),
        (["--data-only", "--yes"], b"INSERT INTO public.t VALUES (1) RETURNING pg_catalog.pg_sleep(0);"),
        (["--table", "t", "--yes"], b"INSERT INTO public.t SELECT a FROM public.live;"),
        (["--table", "t", "--yes"], b"CREATE TABLE public.t AS SELECT a FROM public.live;"),
    ],
)  # fmt: skip
def test_rows_for_a_database_in_use_are_constants(server, empty_database, iacalls, use, tmp_path, way, statement):
    path = tmp_path / "dump.sql"
    path.write_bytes(HEAD + (b"" if b"CREATE" in statement else TABLE) + statement + b"\n" + FOOT)
    with server.connect(empty_database) as connection:
        connection.execute("CREATE TABLE public.live AS SELECT 1 AS a; CREATE TABLE public.t (a integer)")
        try:
            use(empty_database, "")
            outcome = iacalls("backup", "restore", str(path), *way)
            assert outcome.code == 2, outcome.err
            assert "that no dump of one database has" in outcome.error
            assert connection.execute("SELECT (SELECT count(*) FROM public.live), (SELECT count(*) FROM public.t)").fetchone() == (1, 0)  # fmt: skip
        finally:
            connection.execute("DROP TABLE public.live, public.t")
