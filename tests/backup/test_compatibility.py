"""What the restoring role or server lacks is left out and named, and the rows come back."""

import re
import tempfile
import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import DatabaseError
from tests.support.nasty_database import dump_file
from tests.support.refusals import refused
from tests.support.servers import OWNER, READER, local_bundle, private_server, server_kind

DUMP = """--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

{}

--
-- PostgreSQL database dump complete
--
"""
ROWS = """CREATE TABLE public.t (id integer NOT NULL, name text);
COPY public.t (id, name) FROM stdin;
1\tuno
2\tdos
\\.
"""


@pytest.fixture(scope="module")
def somewhere(server):
    """The target of restores into new databases, which leave it as it is."""
    name = server.create_database()
    yield name
    server.drop_database(name)


@pytest.fixture
def restore(server, iacalls, use, somewhere, new, tmp_path):
    """Restore the text of a plain dump, or a file, into a new database."""

    def run(text, *options, role=OWNER, code=0):
        file = tmp_path / "dump.sql"
        file.write_text(DUMP.format(text), "utf-8")
        use(somewhere, role)
        outcome = iacalls("backup", "restore", str(file), "--into", new, *options)
        assert outcome.code == code, outcome.err
        return outcome

    return run


@pytest.fixture
def copy(server, iacalls, use, new, tmp_path):
    """Back a database up and restore it as a role into a new one."""

    def restored(name, *options, role="", as_role=None, code=0):
        use(name, role if as_role is None else as_role)
        outcome = iacalls("backup", "restore", name, "--into", new, "--directory", str(tmp_path / "b"), *options)
        assert outcome.code == code, outcome.err
        return outcome

    def run(name, *options, role="", as_role=None, code=0, then=lambda: None):
        use(name, role)
        made = iacalls("backup", "create", "--directory", str(tmp_path / "b"))
        assert made.code == 0, made.err
        then()
        return restored(name, *options, role=role, as_role=as_role, code=code)

    return run


def ask(server, name, query):
    with server.connect(name) as connection:
        return connection.execute(query).fetchall()


def run(server, name, text, role=""):
    with server.connect(name, role) as connection:
        connection.execute(text)


# What every new database has already.


@pytest.mark.parametrize(
    "made",
    [
        "CREATE SCHEMA public;\nALTER SCHEMA public OWNER TO {owner};\nCOMMENT ON SCHEMA public IS 'the public schema';",
        "CREATE PROCEDURAL LANGUAGE plpgsql;\nALTER PROCEDURAL LANGUAGE plpgsql OWNER TO {owner};",
        "CREATE OR REPLACE PROCEDURAL LANGUAGE plpgsql;",
        "CREATE TRUSTED LANGUAGE plpgsql;",
        "CREATE LANGUAGE plpgsql;\nCOMMENT ON LANGUAGE plpgsql IS 'x';",
        "CREATE EXTENSION plpgsql;\nCOMMENT ON EXTENSION plpgsql IS 'x';",
        "CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;",
        "COMMENT ON DATABASE somewhere IS 'an old dump has it';",
    ],
)
@pytest.mark.parametrize("role", [OWNER, ""])
def test_what_every_database_has_is_passed_over(server, restore, new, made, role):
    restore(made.format(owner=OWNER) + "\n" + ROWS, role=role)
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_pg_dump_of_schema_public_alone(server, empty_database, new, iacalls, use, tmp_path):
    run(server, empty_database, "CREATE TABLE t AS SELECT 1 AS id", OWNER)
    for option in ("-Fp", "-Fc"):
        file = dump_file(server, empty_database, tmp_path / f"d{option}", option, "-n", "public")
        use(empty_database)
        outcome = iacalls("backup", "restore", file, "--into", new)
        assert outcome.code == 0, outcome.err
        assert ask(server, new, "SELECT * FROM t") == [(1,)]
        server.drop_database(new)


# What only a superuser may make.

SUPERUSER_OBJECTS = {
    "EVENT TRIGGER et": "CREATE FUNCTION public.ef() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;\n"
    "CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION public.ef();\nCOMMENT ON EVENT TRIGGER et IS 'x';",
    "PUBLICATION p": "CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');\nALTER PUBLICATION p OWNER TO gone;",
    "SUBSCRIPTION s": "CREATE SUBSCRIPTION s CONNECTION 'host=x password=geheim' PUBLICATION p WITH (connect = false, slot_name = 's');",
    "CAST (": "CREATE CAST (integer AS xid8) WITH INOUT;\nCOMMENT ON CAST (integer AS xid8) IS 'x';",
    "OPERATOR CLASS public.oc": "CREATE OPERATOR CLASS public.oc FOR TYPE integer USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 btint4cmp(integer, integer);",
    "FUNCTION public.cf": "CREATE FUNCTION public.cf() RETURNS integer LANGUAGE c AS '$libdir/none', 'x';\nCOMMENT ON FUNCTION public.cf() IS 'x';",
    "FOREIGN DATA WRAPPER w": "CREATE FOREIGN DATA WRAPPER w OPTIONS (a 'geheim');",
    "TEXT SEARCH TEMPLATE public.tt": "CREATE TEXT SEARCH TEMPLATE public.tt (LEXIZE = dsimple_lexize);",
    "ACCESS METHOD am": "CREATE ACCESS METHOD am TYPE TABLE HANDLER heap_tableam_handler;",
}


@pytest.mark.parametrize("name", SUPERUSER_OBJECTS)
def test_what_only_a_superuser_may_make_is_left_out_and_named(server, restore, new, name):
    outcome = restore(ROWS + SUPERUSER_OBJECTS[name])
    assert re.search(rf"left out: .*{re.escape(name)}", outcome.err), outcome.err
    assert "geheim" not in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_the_superusers_event_trigger_does_not_see_the_restore(server, restore, new):
    body = "CREATE FUNCTION public.ef() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no more DDL'; END$$;"
    text = f"{body}\nCREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION public.ef();\n{ROWS}"
    restore(text + f"GRANT SELECT ON TABLE public.t TO {READER};\n", role="")
    assert ask(server, new, "SELECT evtname FROM pg_event_trigger") == [("et",)]


def test_an_extension_not_permitted_takes_its_comment_along(server, restore, new):
    text = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements WITH SCHEMA public;\n\nCOMMENT ON EXTENSION pg_stat_statements IS 'x';\n"
    outcome = restore(text + ROWS + "CREATE VIEW public.v AS SELECT queryid FROM public.pg_stat_statements;\n")
    assert "EXTENSION pg_stat_statements (iacalls_owner may not create it)" in outcome.err
    assert "VIEW public.v" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


# What names a missing role.

POLICY = "ALTER TABLE public.t ENABLE ROW LEVEL SECURITY;\nCREATE POLICY p ON public.t FOR SELECT TO {} USING (true);\n"


def test_a_policy_for_a_missing_role_is_left_out(server, restore, new):
    outcome = restore(ROWS + POLICY.format("gone"))
    assert "POLICY p ON public.t (it is for gone)" in outcome.err
    assert ask(server, new, "SELECT relrowsecurity FROM pg_class WHERE relname = 't'") == [(True,)]
    assert ask(server, new, "SELECT count(*) FROM pg_policy") == [(0,)]


@pytest.mark.parametrize(
    ("roles", "kept"), [(f"gone, {READER}", READER), (f'{READER}, "Gone; 2"', READER), ("PUBLIC", None)]
)
def test_a_policy_is_made_for_the_roles_that_exist(server, restore, new, roles, kept):
    outcome = restore(ROWS + POLICY.format(roles))
    found = ask(server, new, "SELECT polroles::regrole[]::text FROM pg_policy")
    assert found == [("{" + (kept or "-") + "}",)]
    assert ("gone" in outcome.err.lower()) == (kept is not None)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DEFAULT PRIVILEGES FOR ROLE gone IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC;",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM gone;",
        "GRANT SELECT(id),UPDATE(name) ON TABLE public.t TO gone;",
        'GRANT ALL ON SCHEMA public TO "gone";',
        "REVOKE ALL ON TABLE public.t FROM gone;",
        "GRANT SELECT ON TABLE public.t TO PUBLIC GRANTED BY gone;",
    ],
)
def test_privileges_of_a_missing_role_are_left_out(server, restore, new, statement):
    outcome = restore(ROWS + statement)
    assert "these roles are missing: gone" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_a_missing_roles_user_mapping_and_password_are_left_out(server, restore, new):
    text = (
        "CREATE FOREIGN DATA WRAPPER w;\nCREATE SERVER s FOREIGN DATA WRAPPER w;\n"
        "CREATE USER MAPPING FOR gone SERVER s OPTIONS (\n    password 'hunter2',\n    \"user\" 'x'\n);\n"
        "CREATE USER MAPPING FOR PUBLIC SERVER s;\n"
    )
    outcome = restore(ROWS + text, role="")
    assert "USER MAPPING FOR gone SERVER s (the role is missing)" in outcome.err
    assert "hunter2" not in outcome.err
    assert ask(server, new, "SELECT count(*) FROM pg_user_mapping") == [(1,)]


def test_owners_by_session_authorization(server, restore, new):
    text = f"""
SET SESSION AUTHORIZATION '{READER}';
CREATE TABLE public.a (id serial PRIMARY KEY, n text);
CREATE FUNCTION public.f(a integer, begin text DEFAULT 'x;') RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE TYPE public.mood AS ENUM ('a');
SET SESSION AUTHORIZATION 'gone';
CREATE TABLE public.b (id integer);
SET SESSION AUTHORIZATION '{OWNER}';
CREATE SCHEMA s;
CREATE VIEW s.v AS SELECT 1 AS one;
RESET SESSION AUTHORIZATION;
COPY public.a (id, n) FROM stdin;
1\tx
\\.
CREATE TABLE public.c (id integer);
"""
    outcome = restore(text, role="")
    owners = dict(
        ask(
            server,
            new,
            "SELECT relname, relowner::regrole::text FROM pg_class WHERE relkind IN ('r', 'v', 'S') AND relnamespace::regnamespace::text IN ('public', 's')",
        )
    )
    assert owners == {"a": READER, "a_id_seq": READER, "b": "postgres", "c": "postgres", "v": OWNER}
    assert ask(server, new, "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'f'") == [(READER,)]
    assert ask(server, new, "SELECT typowner::regrole::text FROM pg_type WHERE typname = 'mood'") == [(READER,)]
    assert ask(server, new, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 's'") == [(OWNER,)]
    assert "gone" in outcome.err


@pytest.mark.postgres("< 17")
@pytest.mark.parametrize(
    ("grant", "expected"),
    [("SELECT,INSERT,MAINTAIN", "ar"), ("MAINTAIN,DELETE", "d"), ("SELECT,MAINTAIN,UPDATE", "rw"), ("MAINTAIN", None)],
)
def test_the_privilege_maintain_on_an_older_server(server, restore, new, grant, expected):
    outcome = restore(ROWS + f"GRANT {grant} ON TABLE public.t TO {READER};\n")
    assert f"MAINTAIN on TABLE public.t for {READER}" in outcome.err
    found = ask(server, new, "SELECT relacl::text FROM pg_class WHERE relname = 't'")[0][0] or ""
    assert (f"{READER}={expected}/" in found) if expected else READER not in found


# What a server lacks.

EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "no-such" WITH SCHEMA public;\nCOMMENT ON EXTENSION "no-such" IS \'x\';\n'


def test_rows_of_a_missing_extension_are_left_out(server, restore, new):
    text = (
        EXTENSION
        + ROWS
        + "COPY jobs.job (id) FROM stdin;\n1\n\\.\nSELECT pg_catalog.setval('jobs.job_id_seq', 1, true);\n"
    )
    outcome = restore(text)
    assert "extensions that this server does not have: no-such" in outcome.err
    assert "rows of jobs.job" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("CREATE VIEW public.v AS SELECT public.missing_function(id) FROM public.t;", "VIEW public.v"),
        ("CREATE INDEX i ON public.t USING gin (name public.missing_ops);", "INDEX i ON public.t"),
        ("CREATE FUNCTION public.f() RETURNS public.missing LANGUAGE sql AS 'SELECT 1';", "FUNCTION public.f"),
        (
            "CREATE TRIGGER tr BEFORE UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.missing();",
            "TRIGGER tr ON public.t",
        ),
        ("CREATE SERVER s FOREIGN DATA WRAPPER missing_fdw OPTIONS (password 'geheim');", "SERVER s"),
        ("CREATE FOREIGN TABLE public.ft (id integer) SERVER missing OPTIONS (a 'geheim');", "FOREIGN TABLE public.ft"),
    ],
)
def test_what_needs_a_missing_extension_is_left_out_and_named(server, restore, new, statement, left):
    outcome = restore(EXTENSION + ROWS + statement)
    assert re.search(rf"left out: .*{re.escape(left)}", outcome.err), outcome.err
    assert "geheim" not in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_a_failing_view_ends_a_restore_with_all_extensions(restore):
    outcome = restore(ROWS + "CREATE VIEW public.v AS SELECT public.missing_function(id) FROM public.t;\n", code=1)
    assert "CREATE VIEW public.v" in outcome.error


def test_a_table_that_needs_a_missing_extension_names_it(restore):
    outcome = restore(EXTENSION + "CREATE TABLE public.g (id integer, shape public.geometry);\n", code=1)
    assert "this server lacks the extension no-such" in outcome.error


@pytest.mark.parametrize("method", ["lz4", "nonsense"])
def test_a_compression_method_is_left_out_where_it_is_unknown(server, restore, new, method):
    if (
        method == "lz4"
        and ask(
            server,
            "postgres",
            "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'",
        )[0][0]
    ):
        method = "nonsense"
    outcome = restore(ROWS + f"ALTER TABLE ONLY public.t ALTER COLUMN name SET COMPRESSION {method};\n")
    assert f"compression {method}" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_settings_unknown_or_not_a_dumps_own_are_left_out(server, restore, new):
    text = "SET no_such_setting = 1;\nSET default_with_oids = false;\nSET session_replication_role = replica;\nSET default_table_access_method = no_such;\n"
    outcome = restore(text + ROWS)
    assert "setting no_such_setting" in outcome.err
    assert "setting session_replication_role" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_a_collation_of_a_missing_provider_in_a_restore_test(server, iacalls, use, empty_database, tmp_path, data_home):
    """The embedded server was built without ICU."""
    try:
        run(
            server,
            empty_database,
            "CREATE COLLATION public.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
            OWNER,
        )
    except DatabaseError:  # it is not supported
        pytest.skip("this server was built without ICU")
    run(
        server,
        empty_database,
        "CREATE TABLE t (a text COLLATE public.ci PRIMARY KEY); INSERT INTO t VALUES ('a')",
        OWNER,
    )
    use(empty_database)
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    outcome = iacalls("backup", "rehearse", "--directory", str(tmp_path / "b"))
    assert outcome.code == 0, outcome.err + outcome.out
    assert "COLLATION public.ci" in outcome.err


# Row security, partitions, triggers.


def test_forced_row_security_hides_no_rows_from_the_count(server, empty_database, copy, new):
    run(
        server,
        empty_database,
        f"""
        CREATE TABLE t (id int PRIMARY KEY, who text); INSERT INTO t VALUES (1, '{OWNER}'), (2, 'x');
        ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY;
        CREATE POLICY p ON t USING (who = current_user)""",
        OWNER,
    )
    outcome = copy(empty_database, role="", as_role=OWNER)
    assert "2 rows" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]
    assert ask(server, new, "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 't'") == [
        (True, True)
    ]


def test_forced_row_security_in_a_plain_dump(server, restore, new):
    text = ROWS + (
        "ALTER TABLE ONLY public.t FORCE ROW LEVEL SECURITY;\nALTER TABLE public.t ENABLE ROW LEVEL SECURITY;\n"
        "CREATE POLICY p ON public.t USING ((id = 1));\n"
    )
    outcome = restore(text)
    assert "2 rows in 1 tables" in outcome.err
    assert ask(server, new, "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE relname = 't'") == [
        (True, True)
    ]


def test_the_hint_for_row_security_names_what_helps(server, empty_database, iacalls, use):
    run(
        server,
        empty_database,
        """CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        ALTER TABLE t FORCE ROW LEVEL SECURITY""",
        OWNER,
    )
    use(empty_database)
    outcome = iacalls("backup", "create")
    assert outcome.code == 1
    assert "BYPASSRLS" in outcome.error
    assert "NO FORCE ROW LEVEL SECURITY" in outcome.error
    assert "pg_read_all_data" not in outcome.error


PARTITIONED = """
    CREATE TABLE batch (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
    CREATE TABLE batch_2025 PARTITION OF batch FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE calls (id int PRIMARY KEY, bid int, bd date, FOREIGN KEY (bid, bd) REFERENCES batch);
    CREATE TABLE batch_2024 PARTITION OF batch FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER tr BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION stamp();
    CREATE INDEX ON batch (d);
    INSERT INTO batch VALUES (1, '2025-02-01'), (2, '2024-02-01'); INSERT INTO calls VALUES (1, 1, '2025-02-01');
"""


@pytest.mark.parametrize("where", ["embedded", "here"])
def test_a_foreign_key_to_a_partitioned_table_is_no_damage(
    server, empty_database, iacalls, use, tmp_path, where, data_home
):
    run(server, empty_database, PARTITIONED, OWNER)
    use(empty_database)
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    target = ["--dsn", server.dsn(empty_database)] if where == "here" else []
    outcome = iacalls("backup", "rehearse", "--directory", str(tmp_path / "b"), *target)
    assert outcome.code == 0, outcome.err + outcome.out


KEYED = """
    CREATE TABLE zparent (id int PRIMARY KEY);
    CREATE TABLE calls (id int, pid int REFERENCES zparent, d date) PARTITION BY RANGE (d);
    CREATE TABLE calls_2024 PARTITION OF calls FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
    CREATE TABLE calls_2024_1 PARTITION OF calls_2024 DEFAULT;
    CREATE TABLE calls_x PARTITION OF calls DEFAULT;
    INSERT INTO zparent VALUES (1), (2); INSERT INTO calls VALUES (1, 1, '2024-05-01'), (2, 2, '2030-01-01');
"""


def test_data_only_into_partitions_with_foreign_keys(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, KEYED, OWNER)
    use(empty_database)
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    run(server, empty_database, "TRUNCATE zparent, calls", OWNER)
    outcome = iacalls("backup", "restore", empty_database, "--data-only", "--directory", str(tmp_path / "b"))
    assert outcome.code == 0, outcome.err
    assert ask(server, empty_database, "SELECT count(*) FROM calls") == [(2,)]
    assert ask(server, empty_database, "SELECT bool_or(condeferrable) FROM pg_constraint WHERE contype = 'f'") == [
        (False,)
    ]


AUDITED = """
    CREATE TABLE audit (id serial PRIMARY KEY, what text);
    CREATE TABLE clients (id serial PRIMARY KEY, name text, updated_at timestamp);
    CREATE TABLE zaudit (what text);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
        INSERT INTO public.audit (what) VALUES (NEW.name); INSERT INTO public.zaudit VALUES (NEW.name); RETURN NEW; END$$;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.updated_at := now(); RETURN NEW; END$$;
    INSERT INTO clients (name, updated_at) VALUES ('a', '2020-01-01'), ('b', '2020-01-01'), ('c', '2020-01-01');
    INSERT INTO audit (what) VALUES ('a'), ('b'), ('c');
    CREATE TRIGGER l AFTER INSERT ON clients FOR EACH ROW EXECUTE FUNCTION log();
    CREATE TRIGGER t BEFORE INSERT ON clients FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TRIGGER a AFTER INSERT ON clients FOR EACH STATEMENT EXECUTE FUNCTION log();
    ALTER TABLE clients ENABLE ALWAYS TRIGGER t; ALTER TABLE clients DISABLE TRIGGER a;
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_data_only_fires_no_trigger(server, empty_database, iacalls, use, tmp_path, form):
    run(server, empty_database, AUDITED, OWNER)
    use(empty_database)
    assert iacalls("backup", "create", "--format", form, "--directory", str(tmp_path / "b")).code == 0
    run(server, empty_database, "TRUNCATE audit, clients, zaudit", OWNER)
    outcome = iacalls("backup", "restore", empty_database, "--data-only", "--directory", str(tmp_path / "b"))
    assert outcome.code == 0, outcome.err
    assert ask(server, empty_database, "SELECT count(*) FROM audit") == [(3,)]
    assert ask(server, empty_database, "SELECT count(*) FROM zaudit") == [(0,)]
    assert ask(server, empty_database, "SELECT max(updated_at)::text FROM clients") == [("2020-01-01 00:00:00",)]
    states = ask(
        server, empty_database, "SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )
    assert states == [("a", "D"), ("l", "O"), ("t", "A")]


def test_data_only_of_inserts_past_a_rule(server, empty_database, iacalls, use, tmp_path):
    run(
        server, empty_database, "CREATE TABLE r (id int); CREATE TABLE w (id int); INSERT INTO r VALUES (1), (2)", OWNER
    )
    file = dump_file(server, empty_database, tmp_path / "d.sql", "--inserts", "--data-only")
    run(
        server,
        empty_database,
        "TRUNCATE r; CREATE RULE ru AS ON INSERT TO r DO ALSO INSERT INTO w VALUES (NEW.id)",
        OWNER,
    )
    use(empty_database)
    outcome = iacalls("backup", "restore", file, "--data-only")
    assert outcome.code == 0, outcome.err
    assert ask(server, empty_database, "SELECT count(*), (SELECT count(*) FROM w) FROM r") == [(2, 0)]
    assert ask(server, empty_database, "SELECT ev_enabled::text FROM pg_rewrite WHERE rulename = 'ru'") == [("O",)]


def test_data_only_is_refused_to_who_may_not_disable_triggers(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, AUDITED, OWNER)
    file = dump_file(server, empty_database, tmp_path / "d.sql", "--data-only")
    run(
        server,
        empty_database,
        f"TRUNCATE audit, clients, zaudit; GRANT ALL ON ALL TABLES IN SCHEMA public TO {READER}",
        OWNER,
    )
    use(empty_database, READER)
    outcome = iacalls("backup", "restore", file, "--data-only", "--table", "clients")
    assert outcome.code == 1
    assert "trigger l" in outcome.error
    assert ask(server, empty_database, "SELECT count(*) FROM clients") == [(0,)]


def test_a_full_restore_leaves_sequences_where_the_backup_says(server, empty_database, copy, new):
    run(
        server,
        empty_database,
        """
        CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users VALUES (2147483647, 'anonymous');
        INSERT INTO users (name) VALUES ('a'), ('b');
        CREATE TABLE small (id smallserial); INSERT INTO small VALUES (32767);
        CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY, n int); INSERT INTO ident OVERRIDING SYSTEM VALUE VALUES (1000000000, 1)
        """,
        OWNER,
    )
    outcome = copy(empty_database, role=OWNER)
    assert "users_id_seq gives 3 next, and users has 2147483647" in outcome.err
    with server.connect(new, OWNER) as connection:
        assert connection.execute("INSERT INTO users (name) VALUES ('c') RETURNING id").fetchone() == (3,)
        assert connection.execute("INSERT INTO small DEFAULT VALUES RETURNING id").fetchone() == (1,)
        assert connection.execute("INSERT INTO ident (n) VALUES (2) RETURNING id").fetchone() == (1,)


def test_data_only_moves_sequences_no_further_than_the_dump(server, empty_database, iacalls, use, tmp_path):
    run(
        server,
        empty_database,
        """CREATE TABLE users (id serial PRIMARY KEY, name text);
        INSERT INTO users VALUES (2147483647, 'anonymous'); INSERT INTO users (name) VALUES ('a'), ('b')""",
        OWNER,
    )
    use(empty_database)
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    for options in (["--data-only"], ["--data-only", "--table", "users"]):
        run(server, empty_database, "TRUNCATE users; ALTER SEQUENCE users_id_seq RESTART", OWNER)
        outcome = iacalls("backup", "restore", empty_database, *options, "--directory", str(tmp_path / "b"))
        assert outcome.code == 0, outcome.err
        assert ask(server, empty_database, "SELECT nextval('users_id_seq')") == [(3,)]


# search_path against functions.

UNQUALIFIED = """
    CREATE FUNCTION public.inner_one(t text) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT lower(t)$$;
    CREATE FUNCTION public.outer_one(t text) RETURNS text LANGUAGE {language} IMMUTABLE AS ${body}$;
    CREATE TABLE public.t (id int PRIMARY KEY, name text{column}); INSERT INTO public.t VALUES (1, 'A'), (2, 'B');
    {more}
"""
# From PostgreSQL 17 on the server itself gives indexes and materialized views a safe path.
OLD = pytest.mark.postgres("< 17")
MATERIALIZED = "CREATE MATERIALIZED VIEW public.mv AS SELECT public.outer_one(name) FROM public.t;"
SQL_BODY, PLPGSQL_BODY = "$SELECT inner_one(t)$", "$BEGIN RETURN inner_one(t); END$"


@pytest.mark.parametrize(
    ("language", "column", "more"),
    [
        pytest.param("sql", "", "CREATE INDEX i ON public.t (public.outer_one(name));", marks=OLD),
        pytest.param("plpgsql", "", "CREATE INDEX i ON public.t (public.outer_one(name));", marks=OLD),
        ("plpgsql", ", low text GENERATED ALWAYS AS (public.outer_one(name)) STORED", ""),
        ("sql", "", "ALTER TABLE public.t ADD CONSTRAINT k CHECK (public.outer_one(name) <> 'z');"),
        pytest.param("plpgsql", "", MATERIALIZED, marks=OLD),
    ],
)
def test_a_function_that_finds_names_by_search_path(
    server, empty_database, iacalls, use, new, tmp_path, language, column, more
):
    body = SQL_BODY if language == "sql" else PLPGSQL_BODY
    run(server, empty_database, UNQUALIFIED.format(language=language, body=body, column=column, more=more), OWNER)
    use(empty_database)
    made = iacalls("backup", "create", "--directory", str(tmp_path / "b"))
    assert made.code == 0, made.err
    assert "public.outer_one(text)" in made.err.replace("outer_one(text)", "public.outer_one(text)")
    assert "search_path" in made.err
    arguments = ["backup", "restore", empty_database, "--into", new, "--directory", str(tmp_path / "b")]
    outcome = iacalls(*arguments)
    if outcome.code:
        assert "--search-path" in outcome.error
    again = iacalls(*arguments, "--search-path", "public") if outcome.code else outcome
    assert again.code == 0, again.err
    assert ask(server, new, "SELECT count(*) FROM public.t") == [(2,)]
    assert ask(server, new, "SHOW search_path") == [('"$user", public',)]


def test_a_function_with_its_own_path_is_no_warning(server, empty_database, iacalls, use, tmp_path):
    check = "ALTER TABLE public.t ADD CONSTRAINT k CHECK (public.outer_one(name) <> 'z');"
    text = UNQUALIFIED.format(language="sql", body=SQL_BODY, column="", more=check)
    run(server, empty_database, text, OWNER)
    run(server, empty_database, "ALTER FUNCTION public.outer_one SET search_path = public", OWNER)
    use(empty_database)
    made = iacalls("backup", "create", "--directory", str(tmp_path / "b"))
    assert made.code == 0, made.err
    assert "search_path" not in made.err


@pytest.mark.parametrize("path", ["public; DROP TABLE t", "a b", ",", "'x'"])
def test_a_search_path_that_is_none(restore, path):
    outcome = restore(ROWS, "--search-path", path, code=2)
    assert "--search-path cannot be" in outcome.error


# Subscriptions and slots.

SUBSCRIPTION = "CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 password=geheim' PUBLICATION p WITH (connect = false, slot_name = 's')"


def test_a_restore_test_leaves_no_database_with_a_subscription(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, f"CREATE TABLE t (id int); {SUBSCRIPTION}")
    use(empty_database, "")
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    outcome = iacalls("backup", "rehearse", "--directory", str(tmp_path / "b"), "--dsn", server.dsn("postgres"))
    assert outcome.code == 0, outcome.err
    assert "SUBSCRIPTION s" in outcome.err
    assert "geheim" not in outcome.err
    run(server, empty_database, "ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s")
    assert ask(server, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '%.re%'") == []


def test_a_restore_failing_behind_a_subscription_leaves_nothing(server, restore):
    text = ROWS + SUBSCRIPTION + ";\nCREATE VIEW public.v AS SELECT nothing FROM public.t;\n"
    restore(text, role="", code=1)
    assert ask(server, "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '%.re%'") == []


def test_what_cannot_be_dropped_is_named(server, restore):
    """A superuser's session in it, which the restoring role may not end."""
    found, done = [], threading.Event()

    def stay():
        with server.connect("postgres") as connection:
            while not found and not done.wait(0.01):
                found.extend(
                    connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%.restore-%'").fetchall()
                )
        if found:
            with server.connect(found[0][0]):
                done.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    text = ROWS + "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n"
    slow = "CREATE INDEX i ON public.t ((pg_sleep(2)::text));\n"  # not immutable: an error, two seconds from now
    wait = "COPY public.t (id, name) FROM stdin;\n" + "".join(f"{n}\tx\n" for n in range(200_000)) + "\\.\n"
    outcome = restore(text + wait + slow, code=1)
    done.set()
    thread.join()
    assert f"the database {found[0][0]} could not be dropped: " in outcome.error
    server.drop_database(found[0][0])


def test_the_plan_of_replace_names_slots_and_subscriptions(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, f"CREATE TABLE t (id int); {SUBSCRIPTION}")
    use(empty_database, "")
    assert iacalls("backup", "create", "--directory", str(tmp_path / "b")).code == 0
    with server.connect(empty_database) as connection:
        connection.execute("ALTER SUBSCRIPTION s ENABLE")
        has_slot = connection.execute("SHOW wal_level").fetchone() == ("logical",)
        if has_slot:
            connection.execute("SELECT pg_create_logical_replication_slot('iac_slot', 'test_decoding')")
    outcome = iacalls("backup", "restore", empty_database, "--replace", "--dry-run", "--directory", str(tmp_path / "b"))
    assert outcome.code == 0, outcome.err
    assert "the subscription s stays with the replaced database" in outcome.err
    if has_slot:
        assert "the logical slot iac_slot stays with the replaced database" in outcome.err
        run(server, empty_database, "SELECT pg_drop_replication_slot('iac_slot')")
    run(
        server,
        empty_database,
        "ALTER SUBSCRIPTION s DISABLE; ALTER SUBSCRIPTION s SET (slot_name = NONE); DROP SUBSCRIPTION s",
    )


# Servers without a database of the usual name.


@pytest.fixture(scope="module")
def bare_server():
    """A server without a database postgres, and the parameters of one called defaultdb there."""
    bundle = local_bundle() if server_kind() == "local" else bundled()
    with private_server(bundle) as parameters:
        parameters.pop("socket_folder")
        with psycopg.connect(**parameters, autocommit=True) as connection:
            connection.execute("CREATE DATABASE defaultdb")
        with psycopg.connect(**{**parameters, "dbname": "defaultdb"}, autocommit=True) as connection:
            connection.execute("DROP DATABASE postgres")
            connection.execute("CREATE TABLE t AS SELECT 1 AS id")
        yield {**parameters, "dbname": "defaultdb"}


@pytest.mark.skipif(server_kind() not in ("embedded", "local"), reason="makes a server of its own")
def test_a_server_without_a_database_postgres(bare_server, iacalls, monkeypatch, tmp_path):
    monkeypatch.setenv("IACALLS_DSN", make_conninfo(**bare_server))
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    for way in (["--into", "copia"], ["--replace", "--confirm", "defaultdb"]):
        outcome = iacalls("backup", "restore", "newest", *way, *folder)
        assert outcome.code == 0, outcome.err
    undone = iacalls("backup", "undo", "--confirm", "defaultdb")
    assert undone.code == 0, undone.err
    rehearsed = iacalls("backup", "rehearse", *folder, "--dsn", make_conninfo(**bare_server))
    assert rehearsed.code == 0, rehearsed.err


# The same in archives.

MANY = """
    CREATE EXTENSION pg_stat_statements;
    CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
    CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION ef(); COMMENT ON EVENT TRIGGER et IS 'x';
    CREATE PUBLICATION pub FOR ALL TABLES;
    CREATE CAST (integer AS xid8) WITH INOUT;
    CREATE VIEW watched AS SELECT queryid FROM pg_stat_statements;
    CREATE TABLE t (id serial PRIMARY KEY, name text); INSERT INTO t (name) VALUES ('a'), ('b');
    CREATE TABLE u (t int REFERENCES t); INSERT INTO u VALUES (1);
    CREATE MATERIALIZED VIEW mv AS SELECT t.id, t.name, count(*) FROM t GROUP BY t.id;
    CREATE UNIQUE INDEX mvi ON mv (id); COMMENT ON INDEX mvi IS 'of a view behind a key';
    CREATE VIEW grouped AS SELECT t.id, t.name FROM t GROUP BY t.id;
    CREATE RULE quiet AS ON DELETE TO u DO INSTEAD NOTHING;
    ALTER TABLE t ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON t USING (name IS NOT NULL);
    CREATE STATISTICS st ON id, name FROM t;
"""


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
@pytest.mark.parametrize("role", [OWNER, ""])
def test_a_backup_with_what_only_a_superuser_makes(server, empty_database, iacalls, use, new, tmp_path, form, role):
    run(server, empty_database, MANY)
    use(empty_database, "")
    assert iacalls("backup", "create", "--format", form, "--directory", str(tmp_path / "b")).code == 0
    use(empty_database, role)
    outcome = iacalls("backup", "restore", empty_database, "--into", new, "--directory", str(tmp_path / "b"))
    run(server, empty_database, "DROP EVENT TRIGGER et; DROP PUBLICATION pub")
    assert outcome.code == 0, outcome.err
    assert ask(server, new, "SELECT count(*), (SELECT count(*) FROM u), (SELECT count(*) FROM mv) FROM t") == [
        (2, 1, 2)
    ]
    assert ask(server, new, "SELECT obj_description('mvi'::regclass)") == [("of a view behind a key",)]
    assert ask(server, new, "SELECT polname FROM pg_policy") == [("p",)]
    found = ask(
        server,
        new,
        "SELECT (SELECT count(*) FROM pg_event_trigger), (SELECT count(*) FROM pg_publication), to_regclass('watched') IS NULL",
    )
    assert found == [(0, 0, True) if role else (1, 1, False)]
    for left in (
        "EVENT TRIGGER et",
        "PUBLICATION pub",
        "CAST (",
        "EXTENSION pg_stat_statements",
        "VIEW public.watched",
    ):
        assert (left in outcome.err) == bool(role)
    if not role:
        run(server, new, "DROP EVENT TRIGGER et; DROP PUBLICATION pub")


JOBS = """
    CREATE SCHEMA jobs; CREATE EXTENSION iac_jobs SCHEMA jobs; INSERT INTO jobs.job VALUES (1), (2);
    SELECT setval('jobs.job_seq', 7);
    CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (2, 'b');
    CREATE TABLE u (t int REFERENCES t); INSERT INTO u VALUES (1);
    CREATE INDEX plain ON t (name);
    CREATE INDEX special ON t (jobs.iac_f(id)); COMMENT ON INDEX special IS 'x';
    CREATE VIEW v AS SELECT jobs.iac_f(id) FROM t;
    CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
    CREATE TRIGGER tr BEFORE UPDATE ON t FOR EACH ROW WHEN (jobs.iac_f(NEW.id) = 1) EXECUTE FUNCTION tf();
"""
CONTROL = "comment = 'x'\ndefault_version = '1'\nrelocatable = false\n"
EXTENSION_SQL = """CREATE TABLE job (id int); SELECT pg_extension_config_dump('job', '');
    CREATE SEQUENCE job_seq; SELECT pg_extension_config_dump('job_seq', '');
    CREATE FUNCTION iac_f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';"""


@pytest.mark.postgres(">= 18")
@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
def test_a_backup_with_an_extension_the_target_lacks(server, empty_database, iacalls, use, new, form):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / "extension"
        made.mkdir(0o755)
        (made / "iac_jobs.control").write_text(CONTROL)
        (made / "iac_jobs--1.sql").write_text(EXTENSION_SQL)
        run(server, empty_database, f"SET extension_control_path = '{folder}:$system'; {JOBS}")
        use(empty_database, "")
        store = ["--directory", f"{folder}/b"]
        assert iacalls("backup", "create", "--format", form, *store).code == 0
        outcome = iacalls("backup", "restore", empty_database, "--into", new, *store)
        assert outcome.code == 0, outcome.err
        rehearsed = iacalls("backup", "rehearse", *store, "--dsn", server.dsn("postgres"))
    assert "extensions that this server does not have: iac_jobs" in outcome.err
    for left in ("rows of jobs.job", "INDEX special ON public.t", "VIEW public.v", "TRIGGER tr ON public.t"):
        assert left in outcome.err
    assert ask(server, new, "SELECT count(*), (SELECT count(*) FROM u) FROM t") == [(2, 1)]
    assert ask(server, new, "SELECT to_regclass('plain')::text, to_regclass('special')") == [("plain", None)]
    assert rehearsed.code == 0, rehearsed.err + rehearsed.out


def test_the_restoring_roles_settings_do_not_reach_the_programs(server, empty_database, copy, new):
    run(server, empty_database, "CREATE TABLE t AS SELECT 1 AS id", OWNER)
    run(
        server,
        "postgres",
        f"ALTER ROLE {OWNER} SET default_transaction_read_only = on; ALTER ROLE {OWNER} SET array_nulls = off",
    )
    try:
        copy(empty_database, role=OWNER)
    finally:
        run(server, "postgres", f"ALTER ROLE {OWNER} RESET ALL")
    assert ask(server, new, "SELECT count(*) FROM t") == [(1,)]


@pytest.mark.parametrize("way", ["into", "data-only", "table"])
def test_a_null_in_an_array_is_no_text(server, empty_database, iacalls, use, new, tmp_path, way):
    """Whatever settings the role has for reading text; the embedded server was built without XML."""
    xml = ask(server, "postgres", "SELECT count(*) FROM pg_config WHERE setting LIKE '%with-libxml%'") == [(1,)]
    kind = "xml" if xml else "text"
    run(server, empty_database, f"CREATE TABLE arr (id int, a text[], d date, x {kind})", OWNER)
    run(server, empty_database, "INSERT INTO arr VALUES (1, '{a,NULL}', '2025-03-04', 'a<b/>')", OWNER)
    use(empty_database)
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    for setting in ("array_nulls = off", "xmloption = document", "DateStyle = 'SQL, DMY'"):
        run(server, "postgres", f"ALTER ROLE {OWNER} SET {setting}")
    try:
        run(server, empty_database, "TRUNCATE arr")
        ways = {"into": ["--into", new], "data-only": ["--data-only"], "table": ["--table", "arr"]}
        outcome = iacalls("backup", "restore", empty_database, *ways[way], *folder)
        assert outcome.code == 0, outcome.err
    finally:
        run(server, "postgres", f"ALTER ROLE {OWNER} RESET ALL")
    name = new if way == "into" else empty_database
    schemas = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'arr' ORDER BY 1 DESC"
    table = f"{ask(server, name, schemas)[0][0]}.arr"
    assert ask(server, name, f"SELECT a[2] IS NULL, d::text, x::text FROM {table}") == [(True, "2025-03-04", "a<b/>")]


def test_a_dump_that_sets_no_search_path(server, restore, new):
    text = ROWS.replace("public.", "") + f"ALTER TABLE t OWNER TO {READER};\nGRANT SELECT ON TABLE t TO {OWNER};\n"
    restore(text, role="")
    assert ask(server, new, "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [(READER,)]


def test_owners_and_privileges_of_a_dump_that_names_no_schemas(server, restore, new):
    text = (
        "CREATE SCHEMA s;\nSET search_path = s, pg_catalog;\nCREATE TABLE a (id integer);\n"
        f"ALTER TABLE a OWNER TO {READER};\nALTER TABLE a ENABLE ROW LEVEL SECURITY;\n"
        "COPY a (id) FROM stdin;\n1\n\\.\nSET search_path = public, pg_catalog;\nCREATE TABLE a (id integer);\n"
        f"ALTER TABLE a OWNER TO {OWNER};\nGRANT SELECT ON TABLE a TO {READER};\n"
    )
    restore(text, role="")
    owners = "SELECT schemaname, tableowner, rowsecurity FROM pg_tables WHERE tablename = 'a' ORDER BY 1 DESC"
    assert ask(server, new, owners) == [("s", READER, True), ("public", OWNER, False)]
    assert ask(server, new, f"SELECT has_table_privilege('{READER}', 'public.a', 'SELECT')") == [(True,)]


def test_two_tables_within_one_second_get_schemas_of_their_own(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, "CREATE TABLE t AS SELECT 1 AS id", OWNER)
    use(empty_database)
    file = dump_file(server, empty_database, tmp_path / "d.sql")
    names = {iacalls("backup", "restore", file, "--table", "t", "-o", "json").json["data"][0]["into"] for _ in range(4)}
    assert len(names) == 4


# What acts with its owner's privileges, and what the server only warns of.


def test_a_missing_owners_code_lends_nobody_superuser_privileges(server, empty_database, copy, new):
    run(server, empty_database, """
        CREATE ROLE gone_owner; CREATE TABLE secret AS SELECT 42 AS a;
        CREATE FUNCTION rd(text) RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT pg_read_file($1)';
        CREATE PROCEDURE pr() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
        CREATE FUNCTION plain(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
        CREATE VIEW v AS SELECT a FROM secret; CREATE VIEW hashes AS SELECT rolpassword FROM pg_authid;
        GRANT SELECT ON v, hashes TO PUBLIC;
        ALTER FUNCTION rd(text) OWNER TO gone_owner; ALTER PROCEDURE pr() OWNER TO gone_owner;
        ALTER FUNCTION plain(int) OWNER TO gone_owner; ALTER VIEW v OWNER TO gone_owner; ALTER VIEW hashes OWNER TO gone_owner;
        """)  # fmt: skip
    outcome = copy(
        empty_database,
        then=lambda: run(server, empty_database, "DROP OWNED BY gone_owner CASCADE; DROP ROLE gone_owner"),
    )
    for left in ("FUNCTION public.rd(text)", "PROCEDURE public.pr()", "VIEW public.hashes"):
        assert f"{left} (" in outcome.err
    assert "FUNCTION public.plain" not in outcome.err
    with server.connect(new, READER) as connection:
        for query in ("SELECT rd('PG_VERSION')", "SELECT * FROM hashes", "SELECT * FROM v"):
            with refused(psycopg.errors.InsufficientPrivilege):
                connection.execute(query)


def test_privileges_that_the_role_may_not_grant_are_named(server, empty_database, copy, new):
    run(server, empty_database, f"""CREATE EXTENSION hstore; CREATE TABLE t AS SELECT 1 AS id;
        GRANT EXECUTE ON FUNCTION hstore(text, text) TO {READER}; REVOKE EXECUTE ON FUNCTION hstore(text, text) FROM PUBLIC;
        GRANT USAGE ON LANGUAGE plpgsql TO {READER}""")  # fmt: skip
    outcome = copy(empty_database, role="", as_role=OWNER)
    assert "could not be given: " in outcome.err
    assert "hstore" in outcome.err.split("could not be given: ")[1]


@pytest.mark.parametrize(
    "statement",
    ["GRANT SELECT ON pg_catalog.pg_authid TO {role};", "GRANT SELECT ON TABLE pg_catalog.pg_statistic TO PUBLIC;",
     "GRANT ALL ON FUNCTION pg_catalog.pg_read_file(text) TO {role};", "GRANT ALL ON SCHEMA pg_catalog TO {role};"],
)  # fmt: skip
def test_privileges_on_the_catalog_are_left_out_and_named(server, restore, new, statement):
    outcome = restore(ROWS + statement.format(role=READER), role="")
    assert "part of the system catalog" in outcome.err
    with server.connect(new, READER) as connection, refused(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT rolpassword FROM pg_authid")


@pytest.mark.parametrize(
    "statement",
    ["ALTER FUNCTION pg_catalog.lower(text) OWNER TO {role};", 'ALTER COLLATION pg_catalog."C" OWNER TO {role};',
     "CREATE OR REPLACE FUNCTION pg_catalog.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';"],
)  # fmt: skip
def test_the_catalog_itself_is_not_changed(restore, statement):
    restore(ROWS + statement.format(role=READER), role="", code=2)


def test_an_index_on_an_operator_class_that_is_left_out(server, empty_database, copy, new):
    run(server, empty_database, f"""
        CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2); ALTER TABLE t OWNER TO {OWNER};
        CREATE FUNCTION mycmp(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT btint4cmp($2, $1)';
        CREATE OPERATOR CLASS rev FOR TYPE int USING btree AS OPERATOR 1 >, OPERATOR 2 >=, OPERATOR 3 =, OPERATOR 4 <=,
            OPERATOR 5 <, FUNCTION 1 mycmp(int, int);
        CREATE INDEX t_rev ON t (v rev); CREATE INDEX t_v ON t (v)""")  # fmt: skip
    outcome = copy(empty_database, role="", as_role=OWNER)
    assert "OPERATOR CLASS public.rev" in outcome.err
    assert "INDEX t_rev ON public.t" in outcome.err
    assert ask(server, new, "SELECT indexname FROM pg_indexes WHERE tablename = 't' ORDER BY 1") == [
        ("t_pkey",),
        ("t_v",),
    ]


@pytest.mark.postgres(">= 18")
@pytest.mark.parametrize("form", ["custom", "plain"])
def test_rows_of_an_extension_that_the_role_may_not_create(server, empty_database, iacalls, use, new, form):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        made = Path(folder) / "extension"
        made.mkdir(0o755)
        (made / "iac_jobs.control").write_text(CONTROL)
        (made / "iac_jobs--1.sql").write_text(EXTENSION_SQL)
        run(server, empty_database, f"SET extension_control_path = '{folder}:$system'; {JOBS}")
        use(empty_database, "")
        assert iacalls("backup", "create", "--format", form, "--directory", f"{folder}/b").code == 0
        run(server, "postgres", f"ALTER ROLE {OWNER} SET extension_control_path = '{folder}:$system'")
        try:
            use(empty_database, OWNER)
            outcome = iacalls("backup", "restore", empty_database, "--into", new, "--directory", f"{folder}/b")
        finally:
            run(server, "postgres", f"ALTER ROLE {OWNER} RESET ALL")
    assert outcome.code == 0, outcome.err
    assert f"EXTENSION iac_jobs ({OWNER} may not create it)" in outcome.err
    assert "rows of jobs.job" in outcome.err
    assert ask(server, new, "SELECT count(*) FROM t") == [(2,)]


def test_rows_that_come_through_a_partitioned_root(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, """
        CREATE TABLE pt (id int, d int, note text) PARTITION BY RANGE (d);
        CREATE TABLE pt1 PARTITION OF pt FOR VALUES FROM (0) TO (10);
        INSERT INTO pt VALUES (1, 1, 'orig'), (2, 2, 'orig');
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := 'TRIG'; RETURN NEW; END$$;
        CREATE TRIGGER tr BEFORE INSERT ON pt1 FOR EACH ROW EXECUTE FUNCTION stamp()""", OWNER)  # fmt: skip
    file = dump_file(server, empty_database, tmp_path / "d.sql", "--load-via-partition-root")
    use(empty_database)
    refused = iacalls("backup", "restore", file, "--data-only")
    assert refused.code == 1
    assert "pt1 is not empty" in refused.error
    run(server, empty_database, "TRUNCATE pt", OWNER)
    outcome = iacalls("backup", "restore", file, "--data-only", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"] == [{"table": "pt", "into": "pt", "rows": 2}]
    assert ask(server, empty_database, "SELECT DISTINCT note FROM pt") == [("orig",)]


@pytest.mark.parametrize("way", [["--data-only"], ["--table", "a"]])
def test_rows_into_tables_with_functions_that_need_search_path(server, empty_database, iacalls, use, tmp_path, way):
    run(server, empty_database, """
        CREATE FUNCTION un(t text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT lower($1)';
        CREATE FUNCTION chk(t text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN un(t) IS NOT NULL; END$$;
        CREATE FUNCTION gen(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN un(t); END$$;
        CREATE TABLE a (id int PRIMARY KEY, t text CHECK (chk(t)), g text GENERATED ALWAYS AS (gen(t)) STORED);
        INSERT INTO a VALUES (1, 'X')""", OWNER)  # fmt: skip
    use(empty_database)
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    run(server, empty_database, "TRUNCATE a", OWNER)
    outcome = iacalls("backup", "restore", empty_database, *way, *folder)
    assert outcome.code == 0, outcome.err


def test_the_owner_under_forced_row_security_is_told_what_helps(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, "CREATE TABLE t AS SELECT 1 AS id", OWNER)
    file = dump_file(server, empty_database, tmp_path / "d.sql")
    run(
        server,
        empty_database,
        "TRUNCATE t; ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY",
        OWNER,
    )
    use(empty_database)
    outcome = iacalls("backup", "restore", file, "--data-only")
    assert outcome.code == 1
    assert "NO FORCE ROW LEVEL SECURITY" in outcome.error


def test_a_sequence_at_its_end_is_not_carried_over(server, empty_database, iacalls, use, tmp_path):
    run(
        server,
        empty_database,
        "CREATE TABLE users (id serial PRIMARY KEY, x text); INSERT INTO users (x) VALUES ('a')",
        OWNER,
    )
    run(server, empty_database, "CREATE TABLE o (id serial, x text); INSERT INTO o (x) VALUES ('a')", OWNER)
    use(empty_database)
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    run(server, empty_database, "SELECT setval('users_id_seq', 2147483647); SELECT setval('o_id_seq', 50)", OWNER)
    outcome = iacalls("backup", "restore", empty_database, "--replace", "--confirm", empty_database, *folder)
    assert outcome.code == 0, outcome.err
    assert "public.users_id_seq is at its end" in outcome.err
    assert "public.o_id_seq goes on from 50" in outcome.err
    run(server, empty_database, "INSERT INTO users (x) VALUES ('b')", OWNER)
    assert ask(server, empty_database, "SELECT max(id) FROM users") == [(2,)]


def test_an_uncalled_cyclic_sequence_goes_where_the_dump_says(server, empty_database, iacalls, use, tmp_path):
    run(server, empty_database, """CREATE TABLE s (id smallint GENERATED ALWAYS AS IDENTITY (MAXVALUE 100 CYCLE), x int);
        INSERT INTO s (x) VALUES (1)""", OWNER)  # fmt: skip
    use(empty_database)
    folder = ["--directory", str(tmp_path / "b")]
    assert iacalls("backup", "create", *folder).code == 0
    run(server, empty_database, "TRUNCATE s RESTART IDENTITY", OWNER)
    outcome = iacalls("backup", "restore", empty_database, "--data-only", *folder)
    assert outcome.code == 0, outcome.err
    assert ask(server, empty_database, "SELECT last_value, is_called FROM s_id_seq") == [(1, True)]
