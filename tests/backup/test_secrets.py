"""What stands in quotes in a backup is shown nowhere: not in an error, a note, proof.json or a list."""

import re

import pytest

from iacalls_cli.operations.backup.manifest import read_manifest
from tests.support.backup_folders import rewrite

CANARY = "hunter2canary"
HEAD = "--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\nCREATE TABLE public.t (a integer);\n"
FOOT = "\n--\n-- PostgreSQL database dump complete\n--\n"
# Statements that fail, or are left out, each with a secret in quotes.
FAILING = {
    "mapping": "CREATE USER MAPPING FOR nosuch_role SERVER nosuch OPTIONS (password 'C', \"user\" 'C');",
    "mapping of a server that is missing": "CREATE USER MAPPING FOR PUBLIC SERVER nosuch OPTIONS (password 'C');",
    "mapping option": "CREATE FOREIGN DATA WRAPPER w;\nCREATE SERVER s FOREIGN DATA WRAPPER w;\n"
    "CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password 'C', password 'C');",
    "server": "CREATE SERVER s FOREIGN DATA WRAPPER nosuch OPTIONS (host 'C', password 'C');",
    "server option": "CREATE FOREIGN DATA WRAPPER w VALIDATOR pg_catalog.postgresql_fdw_validator;\n"
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (wrong 'C');",
    "wrapper": "CREATE FOREIGN DATA WRAPPER w HANDLER nosuch OPTIONS (a 'C');",
    "alter server": "ALTER SERVER nosuch OPTIONS (SET password 'C');",
    "foreign table": "CREATE FOREIGN TABLE public.f (a integer OPTIONS (x 'C')) SERVER nosuch OPTIONS (y 'C');",
    "subscription": "CREATE SUBSCRIPTION s CONNECTION 'C' PUBLICATION p WITH (connect = false);",
    "subscription string": "CREATE SUBSCRIPTION s CONNECTION 'host=x password=C C' PUBLICATION p WITH (connect = false);",
    "subscription option": "CREATE SUBSCRIPTION s CONNECTION 'C=1' PUBLICATION p WITH (connect = false);",
    "subscription that connects": "CREATE SUBSCRIPTION s CONNECTION 'host=x password=C' PUBLICATION p;",
    "default": "CREATE TABLE public.d (a integer DEFAULT 'C');",
    "default of a function": "CREATE FUNCTION public.f(a integer DEFAULT 'C') RETURNS integer LANGUAGE sql AS 'select 1';",
    "check": "CREATE TABLE public.d (a integer CHECK (a <> 'C'));",
    "body": "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS $$ SELECT C $$;",
    "body in quotes": "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS 'SELECT \"C\"';",
    "body with text": "CREATE FUNCTION public.f() RETURNS integer LANGUAGE sql AS $$ SELECT 'C'::integer $$;",
    "library": "CREATE FUNCTION public.f() RETURNS integer LANGUAGE c AS 'C', 'C';",
    "view": "CREATE VIEW public.v AS SELECT 'C'::integer AS a;",
    "rule": "CREATE RULE r AS ON INSERT TO public.t DO ALSO NOTIFY x, 'C' y;",
    "trigger": "CREATE TRIGGER tr BEFORE INSERT ON public.t EXECUTE FUNCTION public.nosuch('C');",
    "event trigger": "CREATE EVENT TRIGGER e ON ddl_command_end WHEN TAG IN ('C') EXECUTE FUNCTION public.nosuch();",
    "policy": "CREATE POLICY p ON public.t USING (a = 'C');",
    "comment": "COMMENT ON TABLE public.nosuch IS 'C';",
    "comment twice": "COMMENT ON TABLE public.t IS 'C' 'C';",
    "label": "SECURITY LABEL FOR C ON TABLE public.t IS 'C';".replace("FOR C", "FOR nosuch"),
    "row": "COPY public.t FROM stdin;\nC\n\\.\n",
    "row of too many": "COPY public.t FROM stdin;\n1\tC\n\\.\n",
    "insert": "INSERT INTO public.t VALUES ('C');",
    "insert of an expression": "INSERT INTO public.t VALUES ('C' || 'C');",
    "sequence": "SELECT pg_catalog.setval('C', 1, true);",
    "setting": "SET xmloption = 'C';",
    "setting that is unknown": "SET nosuch.password = 'C';",
    "path": "SELECT pg_catalog.set_config('role', 'C', false);",
    "role": "CREATE ROLE r PASSWORD 'C';",
    "user": "ALTER USER postgres WITH ENCRYPTED PASSWORD 'C';",
    "psql": "\\connect 'host=x password=C'",
    "psql variable": "\\set password C",
    "psql with a url": "\\c postgres://x:C@localhost/y",
    "do": "DO $$BEGIN RAISE EXCEPTION 'C'; END$$;",
    "enum": "CREATE TYPE public.e AS ENUM ('C', 'C');",
    "partition": "CREATE TABLE public.p (a integer) PARTITION BY LIST (a);\nCREATE TABLE public.p1 PARTITION OF public.p FOR VALUES IN ('C');",
    "copy": "COPY public.t FROM PROGRAM 'C';",
    "aggregate": "CREATE AGGREGATE public.g(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = 'C');",
    "index": "CREATE INDEX i ON public.t (a) WHERE a = 'C';",
    "cut short": "CREATE SERVER s OPTIONS (password 'C",
}  # fmt: skip


def with_canary(statement):
    """A statement with the secret for C."""
    return re.sub(r"(?<![A-Za-z])C(?![A-Za-z])", CANARY, statement)


def without_names(text, path):
    """What a command wrote, without the file's name."""
    return text.replace(str(path), "")


@pytest.fixture(scope="module")
def live(server):
    """A database with a table like the dump's, which no failing statement changes."""
    name = server.create_database()
    with server.connect(name) as connection:
        connection.execute("CREATE TABLE public.t (a integer)")
    yield name
    server.drop_database(name)


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("how", ["--into", "rows"])
def test_no_error_or_note_shows_text_in_quotes(iacalls, use, server, live, tmp_path, name, how):
    path = tmp_path / "dump.sql"
    path.write_text(HEAD + with_canary(FAILING[name]) + "\n" + FOOT)
    assert CANARY in path.read_text()
    use(live, "")
    new = f"{live}_new"
    arguments = ["--into", new] if how == "--into" else ["--data-only", "--yes"]
    outcome = iacalls("backup", "restore", str(path), *arguments)
    server.drop_database(new)
    assert CANARY not in without_names(outcome.out + outcome.err, path)
    assert "internal error" not in outcome.err


SECRET = f"""
CREATE FOREIGN DATA WRAPPER w;
CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host '{CANARY}', password '{CANARY}');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password '{CANARY}');
CREATE SUBSCRIPTION sub CONNECTION 'host=/nosuch password={CANARY}' PUBLICATION p WITH (connect = false);
CREATE TABLE public.d (a text DEFAULT '{CANARY}');
CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $$SELECT '{CANARY}'::text$$;
COMMENT ON TABLE public.d IS '{CANARY}';
"""


@pytest.mark.parametrize("form", ["custom", "plain"])
def test_a_restore_test_keeps_secrets(server, empty_database, use, iacalls, tmp_path, data_home, form, monkeypatch):
    folder = tmp_path / "copies"
    with server.connect(empty_database) as connection:
        for statement in SECRET.strip().split("\n"):
            connection.execute(statement)
        use(empty_database, "")
        made = iacalls(
            "backup", "create", "--directory", str(folder), "--format", form, "--compress", "none", "-o", "json"
        )
        backup = folder / made.json["data"][0]["id"]
        for statement in (
            "ALTER SUBSCRIPTION sub DISABLE",
            "ALTER SUBSCRIPTION sub SET (slot_name = NONE)",
            "DROP SUBSCRIPTION sub",
        ):
            connection.execute(statement)
    monkeypatch.delenv("IACALLS_DSN")
    outcomes = [made, iacalls("backup", "rehearse", "newest", "--directory", str(folder))]
    assert outcomes[-1].code in (0, 1), outcomes[-1].err
    if form == "plain":
        # One of them fails.
        script = backup / "dump.sql"
        broken = f"CREATE TABLE public.broken (a integer DEFAULT '{CANARY}');\n"
        script.write_text(script.read_text().replace("CREATE TABLE public.d ", f"{broken}CREATE TABLE public.d ", 1))
        rewrite(backup, read_manifest(backup))
        outcomes.append(iacalls("backup", "rehearse", "newest", "--directory", str(folder)))
        assert outcomes[-1].code == 1
    outcomes += [
        iacalls("backup", *arguments, "--directory", str(folder))
        for arguments in (["list", "-o", "json"], ["list"], ["check"])
    ]
    dsn = server.dsn("postgres")
    plan = ("restore", "newest", "--into", f"{empty_database}_new", "--dry-run")
    outcomes.append(iacalls("backup", *plan, "--directory", str(folder), "--dsn", dsn))
    assert [CANARY in outcome.out + outcome.err for outcome in outcomes] == [False] * len(outcomes)
    assert CANARY not in (backup / "proof.json").read_text()
    assert CANARY not in (backup / "manifest.json").read_text()
