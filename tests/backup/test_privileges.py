"""A restore test runs whatever code a backup holds: it gains nothing by that and leaves nothing."""

import re
import shutil
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from iacalls_cli.embedded.server import embedded_server
from iacalls_cli.operations.backup.proof import read_proof
from iacalls_cli.operations.backup.restricted_role import PREFIX
from tests.support.backup_folders import wait_until
from tests.support.command_line import start_process
from tests.support.servers import OWNER

# What an attacker would have the restoring role do. W is a path, P the file with the superuser's password.
ATTACKS = (
    "COPY (SELECT 1) TO PROGRAM 'touch W'", "COPY (SELECT 1) TO 'W'", "COPY public.leak FROM PROGRAM 'id'",
    "COPY public.leak FROM '/etc/passwd'", "COPY public.leak FROM 'P'", "SELECT pg_read_file('P')",
    "SELECT pg_read_file('/etc/passwd')", "SELECT pg_read_binary_file('/etc/passwd')", "SELECT pg_ls_dir('.')",
    "SELECT pg_stat_file('/etc/passwd')", "SELECT lo_export(lo_from_bytea(0, 'x'), 'W')", "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid", "UPDATE pg_authid SET rolsuper = true", "DELETE FROM pg_auth_members",
    "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)", "CREATE ROLE intruder",
    "ALTER ROLE CURRENT_USER SUPERUSER", "ALTER ROLE CURRENT_USER CREATEROLE", "ALTER ROLE CURRENT_USER CREATEDB",
    "ALTER ROLE postgres PASSWORD 'x'", "ALTER ROLE CURRENT_USER SET temp_file_limit = -1",
    "SET temp_file_limit = -1", "GRANT postgres TO CURRENT_USER", "GRANT pg_execute_server_program TO CURRENT_USER",
    "GRANT pg_read_all_data TO CURRENT_USER", "GRANT CURRENT_USER TO postgres",
    "CREATE EXTENSION dblink", "CREATE EXTENSION postgres_fdw", "CREATE EXTENSION file_fdw", "CREATE EXTENSION adminpack",
    "CREATE FUNCTION public.c_system(cstring) RETURNS integer LANGUAGE c AS 'libc.so.6', 'system'",
    "CREATE FUNCTION public.i() RETURNS void LANGUAGE internal AS 'pg_reload_conf'",
    "CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION public.et()", "CREATE LANGUAGE plperlu",
    "LOAD '/tmp/x.so'", "LOAD 'auto_explain'", "SET session_preload_libraries = 'x'", "SELECT pg_reload_conf()",
    "SELECT pg_rotate_logfile()", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "SELECT pg_create_restore_point('x')", "SELECT pg_switch_wal()", "SET session_replication_role = replica",
    "SET log_statement = 'none'", "CREATE SUBSCRIPTION s CONNECTION 'host=/tmp' PUBLICATION p", "COMMENT ON ROLE postgres IS 'x'",
    "SELECT pg_create_logical_replication_slot('s', 'pgoutput')", "CREATE TABLESPACE t LOCATION '/tmp'",
    "GRANT ALL ON DATABASE postgres TO PUBLIC", "GRANT SET ON PARAMETER log_statement TO PUBLIC", "CHECKPOINT",
    "ALTER DATABASE postgres SET work_mem = '1MB'", "CREATE TABLE pg_catalog.x (a integer)", "DROP OWNED BY postgres",
)  # fmt: skip
# A function that does nothing on the original, and tries everything as the role of a restore test.
ATTACK = """
CREATE FUNCTION public.attack(way text) RETURNS boolean LANGUAGE plpgsql AS $attack$
DECLARE
    statement text;
    won text := '';
BEGIN
    IF current_user NOT LIKE 'iacalls_restore_test%' THEN
        RETURN true;
    END IF;
    FOREACH statement IN ARRAY ARRAY[STATEMENTS] LOOP
        BEGIN
            EXECUTE statement;
            won := won || '; ' || statement;
        EXCEPTION WHEN OTHERS THEN
            NULL;
        END;
    END LOOP;
    BEGIN
        RESET ROLE;
    EXCEPTION WHEN OTHERS THEN
        NULL;
    END;
    IF current_setting('is_superuser') = 'on' THEN
        won := won || '; superuser';
    END IF;
    RAISE LOG 'attack by % won %', way, won;
    RETURN true;
END
$attack$;
CREATE TABLE public.leak (line text);
CREATE FUNCTION public.et() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
"""
IMMUTABLE = """
CREATE FUNCTION public.{way}(text) RETURNS text IMMUTABLE LANGUAGE plpgsql
    AS $$BEGIN PERFORM public.attack('{way}'); RETURN $1; END$$;
"""
WAYS = (
    ("a_check", "CREATE TABLE public.t_check (a text CHECK (public.a_check(a) = a)); INSERT INTO public.t_check VALUES ('x')"),
    ("generated", "CREATE TABLE public.t_gen (a text, b text GENERATED ALWAYS AS (public.generated(a)) STORED);"
     "INSERT INTO public.t_gen VALUES ('x')"),
    ("indexed", "CREATE TABLE public.t_index (a text); INSERT INTO public.t_index VALUES ('x');"
     "CREATE INDEX ON public.t_index (public.indexed(a))"),
    ("partial", "CREATE TABLE public.t_part (a text); INSERT INTO public.t_part VALUES ('x');"
     "CREATE INDEX ON public.t_part (a) WHERE public.partial(a) = a"),
    ("in_domain", "CREATE DOMAIN public.d AS text CHECK (public.in_domain(VALUE) = VALUE);"
     "CREATE TABLE public.t_domain (a public.d); INSERT INTO public.t_domain VALUES ('x')"),
    ("materialized", "CREATE MATERIALIZED VIEW public.m AS SELECT public.materialized('x') AS a"),
    ("analyzed", "CREATE TABLE public.t_stat (a text, b text); INSERT INTO public.t_stat SELECT g, g FROM generate_series(1, 300) AS g;"
     "CREATE STATISTICS public.s ON (public.analyzed(a)), (b || a) FROM public.t_stat; ANALYZE public.t_stat"),
    ("excluded", "CREATE TABLE public.t_ex (a text, EXCLUDE ((public.excluded(a)) WITH =)); INSERT INTO public.t_ex VALUES ('x')"),
    ("parted", "CREATE TABLE public.t_parted (a text) PARTITION BY LIST ((public.parted(a)));"
     "CREATE TABLE public.t_parted_x PARTITION OF public.t_parted FOR VALUES IN ('x'); INSERT INTO public.t_parted VALUES ('x')"),
    ("touched", "CREATE TABLE public.t_touch (a text, updated_at timestamp); INSERT INTO public.t_touch VALUES ('x', now());"
     "CREATE FUNCTION public.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS"
     " $$BEGIN PERFORM public.touched('x'); NEW.updated_at := now(); RETURN NEW; END$$;"
     "CREATE TRIGGER touch BEFORE UPDATE ON public.t_touch FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at()"),
)  # fmt: skip
# These have no occasion in a restore test; nothing comes of them either.
IDLE_WAYS = (
    ("validated", "CREATE TABLE public.t_valid (a text); INSERT INTO public.t_valid VALUES ('x');"
     "ALTER TABLE public.t_valid ADD CONSTRAINT c CHECK (public.validated(a) = a) NOT VALID"),
    ("defaulted", "CREATE TABLE public.t_default (a text, b text DEFAULT public.defaulted('x')); INSERT INTO public.t_default (a) VALUES ('x')"),
    ("viewed", "CREATE VIEW public.v AS SELECT public.viewed('x') AS a"),
    ("ruled", "CREATE TABLE public.t_rule (a text); CREATE RULE r AS ON INSERT TO public.t_rule DO ALSO SELECT public.ruled('x')"),
    ("secured", "CREATE TABLE public.t_rls (a text); INSERT INTO public.t_rls VALUES ('x');"
     "ALTER TABLE public.t_rls ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON public.t_rls USING (public.secured(a) = a)"),
)  # fmt: skip


@pytest.fixture(scope="module")
def home():
    """The data folder of one embedded server for all tests here."""
    with tempfile.TemporaryDirectory(prefix="iacalls-home-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def stop_scratch(home):
    """Destroy the embedded server in the end."""
    yield
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        embedded_server().destroy()


@pytest.fixture
def scratch(home, stop_scratch, monkeypatch):
    """The embedded server of the commands; returns a way to look into its maintenance database."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home))

    def query(text, *values):
        with psycopg.connect(**embedded_server().conninfo("postgres"), autocommit=True) as connection:
            return connection.execute(text, values or None).fetchall()

    return query


@pytest.fixture
def leftovers(scratch):
    """The roles and databases that restore tests left on the embedded server."""

    def look():
        return [row[0] for row in scratch(
            "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_|^postgres$'"
            " UNION ALL SELECT datname::text FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')"
        )]  # fmt: skip

    return look


@pytest.fixture
def plant(server, empty_database):
    """Run statements in the target as its owner, who is no superuser, or as another role."""

    def run(*statements, role=OWNER):
        with server.connect(empty_database, role) as connection:
            for statement in statements:
                connection.execute(statement)

    return run


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "copies"


@pytest.fixture
def rehearse(iacalls, folder, use, empty_database, scratch, monkeypatch):
    """Back the target up and test the backup on the embedded server."""

    def run(*options, create=True):
        if create:
            use(empty_database)
            made = iacalls("backup", "create", "--directory", str(folder), "-o", "json")
            assert made.code == 0, made.err
            monkeypatch.delenv("IACALLS_DSN")
            run.id = made.json["data"][0]["id"]
        return iacalls("backup", "rehearse", run.id, "--directory", str(folder), *options)

    return run


def attack(witness, password):
    statements = ", ".join(f"$s${one.replace('W', str(witness)) if one[-1] in 'W)' or ' W' in one or chr(39) + 'W' in one else one}$s$" for one in ATTACKS)  # fmt: skip
    return ATTACK.replace("STATEMENTS", statements.replace("'P'", f"'{password}'"))


def test_code_of_a_backup_gains_nothing_in_a_restore_test(plant, rehearse, scratch, leftovers, home):
    witness = Path(tempfile.mkdtemp(prefix="iacalls-witness-"))
    witness.chmod(0o777)
    try:
        plant(attack(witness / "ran", embedded_server().places.passfile))
        for way, statements in (*WAYS, *IDLE_WAYS):
            plant(IMMUTABLE.format(way=way), *statements.split(";\n"))
        outcome = rehearse()
        assert outcome.code == 0, outcome.out + outcome.err
        assert list(witness.iterdir()) == []
    finally:
        shutil.rmtree(witness)
    log = embedded_server().places.log.read_text()
    won = re.findall(r"attack by (\w+) won ([^\n]*)", log)
    # A GRANT without the right to it is a warning.
    query = "SELECT privilege_type FROM pg_database, aclexplode(datacl) WHERE datname = 'postgres' AND grantee = 0"
    assert {row[0] for row in scratch(query)} <= {"CONNECT", "TEMPORARY"}
    # Each of them ran, and none came to anything.
    assert {way for way, _ in won} >= {way for way, _ in WAYS}
    assert {found for _, found in won} <= {"", "; GRANT ALL ON DATABASE postgres TO PUBLIC"}
    assert leftovers() == []
    assert scratch("SELECT rolname FROM pg_roles WHERE rolsuper") == [("postgres",)]
    assert scratch("SELECT count(*) FROM pg_auth_members AS m WHERE m.roleid = 'postgres'::regrole") == [(0,)]


SABOTAGE = """
CREATE FUNCTION public.sabotage(text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF current_user LIKE 'iacalls_restore_test%' THEN
        BODY
    END IF;
    RETURN true;
END
$$;
CREATE TABLE public.t (a text CHECK (public.sabotage(a)));
INSERT INTO public.t VALUES ('x');
"""
ON_DATABASE = "EXECUTE format('ALTER DATABASE %I {}', current_database());"


@pytest.mark.parametrize(
    "body",
    [
        ON_DATABASE.format("IS_TEMPLATE true"),
        ON_DATABASE.format("ALLOW_CONNECTIONS false"),
        ON_DATABASE.format("CONNECTION LIMIT 0"),
        ON_DATABASE.format("SET default_transaction_read_only = on"),
        ON_DATABASE.format("SET search_path = public"),
        "ALTER ROLE CURRENT_USER PASSWORD 'x';",
        "ALTER ROLE CURRENT_USER VALID UNTIL '2000-01-01';",
        "ALTER ROLE CURRENT_USER SET statement_timeout = '1ms';",
        "PERFORM pg_terminate_backend(pg_backend_pid());",
        "RAISE EXCEPTION 'no';",
        "PERFORM pg_advisory_lock(1), pg_notify('x', 'y');",
        "CREATE TEMPORARY TABLE pg_class (a integer);",
    ],
    ids=lambda body: body[:60],
)
def test_what_hinders_a_restore_test_leaves_nothing(plant, rehearse, leftovers, body):
    plant(SABOTAGE.replace("BODY", body))
    outcome = rehearse()
    assert outcome.code in (0, 1, 3), outcome.err
    assert leftovers() == []


def test_a_restore_test_that_takes_too_long_is_ended(plant, rehearse, leftovers, configure, folder):
    configure('[backup]\nrehearse_timeout = "3s"\n')
    plant(SABOTAGE.replace("BODY", "PERFORM pg_sleep(120);"))
    began = time.monotonic()
    outcome = rehearse()
    assert (outcome.code, time.monotonic() - began < 60) == (1, True)
    assert "the restore test took longer than 3 s and was ended" in outcome.error
    assert leftovers() == []
    assert read_proof(next(folder.iterdir())).damage == ""


def test_a_slow_trigger_says_nothing_against_the_backup(plant, rehearse, leftovers, configure, folder):
    configure('[backup]\nrehearse_timeout = "6s"\n')
    plant(
        "CREATE TABLE public.t (a text, updated_at timestamp); INSERT INTO public.t VALUES ('x', now());"
        "CREATE FUNCTION public.touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(120);"
        " NEW.updated_at := now(); RETURN NEW; END$$;"
        "CREATE TRIGGER touch BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.touch_updated_at()"
    )
    outcome = rehearse()
    assert outcome.code == 1, outcome.err
    assert "took longer than 6 s" in outcome.error
    assert leftovers() == []
    assert read_proof(next(folder.iterdir())).damage == ""


def test_temporary_files_have_a_limit(plant, rehearse, leftovers, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.backup.restricted_role.LEAST_TEMPORARY_BYTES", 1 << 20)
    plant(
        "CREATE MATERIALIZED VIEW public.m AS SELECT md5(g::text) AS a FROM generate_series(1, 400000) AS g ORDER BY 1 LIMIT 1 OFFSET 399999"
    )
    outcome = rehearse()
    assert outcome.code == 1
    assert "temp_file_limit" in outcome.error
    assert "the restore test may use 1" in outcome.error
    assert leftovers() == []


@pytest.mark.parametrize("which", ["the same database", pytest.param("another one", marks=pytest.mark.slow)])
def test_after_kill_9_the_next_restore_test_clears_away(
    plant, rehearse, leftovers, folder, which, server, use, iacalls
):
    plant(SABOTAGE.replace("BODY", "PERFORM pg_sleep(4);"))
    use_later = rehearse()
    assert use_later.code == 0, use_later.err
    process = start_process("backup", "rehearse", rehearse.id, "--directory", str(folder))
    wait_until(lambda: len(leftovers()) == 2)
    process.kill()
    process.communicate()
    assert len(leftovers()) == 2
    time.sleep(0.5)  # the server notices that its client is gone
    if which == "another one":
        other = server.create_database()
        use(other)
        made = iacalls("backup", "create", "--directory", str(folder), "-o", "json").json["data"][0]["id"]
        server.drop_database(other)
        assert iacalls("backup", "rehearse", made, "--directory", str(folder)).code == 0
    else:
        assert rehearse(create=False).code == 0
    assert leftovers() == []


@pytest.mark.slow
def test_a_restore_test_beside_another_leaves_that_one_alone(plant, rehearse, leftovers, folder, server, use, iacalls):
    plant(SABOTAGE.replace("BODY", "PERFORM pg_sleep(6);"))
    use_later = rehearse()
    assert use_later.code == 0, use_later.err
    process = start_process("backup", "rehearse", rehearse.id, "--directory", str(folder))
    wait_until(lambda: len(leftovers()) == 2)
    other = server.create_database()
    use(other)
    made = iacalls("backup", "create", "--directory", str(folder), "-o", "json").json["data"][0]["id"]
    server.drop_database(other)
    assert iacalls("backup", "rehearse", made, "--directory", str(folder)).code == 0
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert leftovers() == []


HONEST = {
    "pg_stat_statements": "SELECT 1", "hstore": "CREATE TABLE public.h (a public.hstore); INSERT INTO public.h VALUES ('a=>1')",
    "citext": "CREATE TABLE public.c (a public.citext UNIQUE); INSERT INTO public.c VALUES ('X')",
    "pg_trgm": "CREATE TABLE public.g (a text); CREATE INDEX ON public.g USING gin (a public.gin_trgm_ops)",
    "earthdistance": "CREATE TABLE public.e (lat float8, lon float8); INSERT INTO public.e VALUES (1, 2);"
    "CREATE INDEX ON public.e USING gist (public.ll_to_earth(lat, lon))",
    "uuid-ossp": "CREATE TABLE public.u (id uuid PRIMARY KEY DEFAULT public.uuid_generate_v4(), a text); INSERT INTO public.u (a) VALUES ('x')",
    "pgcrypto": "CREATE TABLE public.p (id uuid DEFAULT gen_random_uuid(), a text); INSERT INTO public.p (a) VALUES ('x')",
    "dblink": "CREATE TABLE public.b (a int); INSERT INTO public.b VALUES (1)",
    "postgres_fdw": "CREATE TABLE public.f (a int); INSERT INTO public.f VALUES (1)",
}  # fmt: skip


@pytest.mark.parametrize("extension", HONEST)
def test_databases_with_extensions_pass(plant, rehearse, leftovers, extension, server):
    with server.connect("postgres") as connection:
        if not connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = %s", [extension]).fetchone():
            pytest.skip(f"this server does not have {extension}")
    plant(f'CREATE EXTENSION "{extension}" WITH SCHEMA public CASCADE', role="")
    plant(*(f"SET search_path = public; {one}" for one in HONEST[extension].split("; ")))
    outcome = rehearse()
    assert outcome.code == 0, outcome.out + outcome.err
    with_stand_in = {"uuid-ossp", "pgcrypto"} - {row[0] for row in available()}
    if extension in with_stand_in:
        assert f"extension {extension}: this server does not have it; a stand-in" in outcome.err
    if extension in ("dblink", "postgres_fdw"):
        assert f"EXTENSION {extension} (" in outcome.err
    assert leftovers() == []


def available():
    with psycopg.connect(**embedded_server().conninfo("postgres")) as connection:
        return connection.execute("SELECT name FROM pg_available_extensions").fetchall()


@pytest.mark.parametrize("how", ["--into", "--replace", "rehearse"])
def test_a_superuser_is_warned_and_an_ordinary_role_is_not(server, database, use, iacalls, tmp_path, how):
    for role in ("", OWNER):
        dsn = use(database, role)
        made = iacalls("backup", "create", "--directory", str(tmp_path / f"b{role}"), "-o", "json").json["data"][0][
            "id"
        ]
        arguments = {
            "--into": ["restore", made, "--into", f"{database}_new", "--dry-run"],
            "--replace": ["restore", made, "--replace", "--dry-run"],
            "rehearse": ["rehearse", made, "--dsn", dsn],
        }[how]
        outcome = iacalls("backup", *arguments, "--directory", str(tmp_path / f"b{role}"))
        assert outcome.code == 0, outcome.err
        assert ("is a superuser: " in outcome.err) == (role == ""), outcome.err


def test_no_password_of_the_role_is_shown(plant, rehearse, folder, scratch):
    plant(SABOTAGE.replace("BODY", "RAISE EXCEPTION 'no';"))
    outcome = rehearse()
    assert outcome.code == 1
    log = embedded_server().places.log.read_text()
    assert "PASSWORD" not in outcome.err + log.replace("ALTER ROLE CURRENT_USER PASSWORD 'x'", "").replace("ALTER ROLE postgres PASSWORD 'x'", "")  # fmt: skip
    assert PREFIX not in (next(folder.iterdir()) / "proof.json").read_text()
