"""`iacalls backup rehearse`: a backup is proven by restoring and using it; what differs is found."""

import json
import signal
import time
from dataclasses import replace

import psycopg
import pytest

from iacalls_cli.embedded.server import embedded_server
from iacalls_cli.operations.backup.manifest import TableRows, read_manifest
from iacalls_cli.operations.backup.proof import manifest_digest, write_proof
from iacalls_cli.operations.backup.store import Store
from tests.support.backup_folders import overwrite, rewrite
from tests.support.command_line import start_process
from tests.support.servers import OWNER, free_port

DEAD = f"host=127.0.0.1 port={free_port()} user=nobody dbname=nothing connect_timeout=2"


@pytest.fixture
def store(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def backup(use, iacalls, store, monkeypatch):
    """Make a backup of a database, then let the configured target be one that nobody answers at."""

    def make(name, *options, role=OWNER):
        use(name, role)
        outcome = iacalls("backup", "create", "--directory", str(store), "-o", "json", *options)
        assert outcome.code == 0, outcome.err
        monkeypatch.setenv("IACALLS_DSN", DEAD)
        return store / outcome.json["data"][0]["id"]

    return make


@pytest.fixture
def rehearse(server, iacalls, store):
    """Rehearse on the server under test, as its superuser; no scratch database may be left."""

    def run(*arguments, scratch=None):
        dsn = server.dsn("postgres") if scratch is None else scratch
        outcome = iacalls("backup", "rehearse", "--directory", str(store), "--dsn", dsn, "-o", "json", *arguments)
        assert scratch_databases(server) == []
        return outcome

    return run


def scratch_databases(server):
    with server.connect("postgres") as connection:
        return connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%.rehearsal-%'").fetchall()


def state(folder):
    return Store(folder.parent).find(folder.name).state


def findings(outcome):
    return {row["check"]: row["finding"] for row in outcome.json["data"] if row["finding"]}


@pytest.mark.parametrize("how", ["custom", "directory"])
def test_a_backup_is_proven_and_list_says_so(filled_database, backup, rehearse, iacalls, store, how):
    folder = backup(filled_database, "--format", how)
    before = iacalls("backup", "list", "--directory", str(store), "-o", "json").json["data"][0]
    assert (before["state"], before["proven_at"]) == ("verified", None)
    outcome = rehearse()
    assert outcome.code == 0, outcome.err
    checks = ("rows", "large objects", "catalogue", "triggers", "reports")
    assert outcome.json["data"] == [{"check": check, "state": "ok", "finding": None} for check in checks]
    after = iacalls("backup", "list", "--directory", str(store), "-o", "json").json["data"][0]
    assert after["state"] == "proven"
    assert after["proven_at"] >= before["taken"][:19]
    assert Store(store).find(folder.name).proof.proven_on.startswith("PostgreSQL ")


def test_on_the_embedded_server_without_libpqs_variables(
    server, filled_database, backup, iacalls, store, data_home, monkeypatch
):
    folder = backup(filled_database)
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": "1", "PGDATABASE": "nothing", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGOPTIONS", "-c search_path=nowhere")
    outcome = iacalls("backup", "rehearse", "--directory", str(store))
    assert outcome.code == 0, outcome.err
    assert "the embedded server (default for rehearsals)" in outcome.err
    # Owner and reader are roles of the other server only.
    assert f"no member of: {OWNER}" in outcome.err
    assert "privileges and policies left out because these roles are missing: iacalls_reader" in outcome.err
    assert state(folder) == "proven"
    with psycopg.connect(**embedded_server().conninfo("postgres")) as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
    assert names == {"postgres", "template0", "template1"}


def test_rows_tables_and_large_objects_not_restored_are_damage(filled_database, backup, rehearse):
    folder = backup(filled_database)
    assert rehearse().code == 0
    proof = Store(folder.parent).find(folder.name).proof
    assert proof.proven_at
    manifest = read_manifest(folder)
    tables = [replace(table, rows=table.rows + (table.name == "clients")) for table in manifest.tables]
    tables.append(TableRows("public", "invoices", 7, 0))
    rewrite(folder, manifest, tables=tables, large_objects=2)
    write_proof(folder, replace(proof, manifest=manifest_digest(folder)))
    outcome = rehearse()
    assert outcome.code == 4
    clients = next(table.rows for table in tables if table.name == "clients")
    assert findings(outcome) == {
        "rows": f"clients has {clients - 1} rows, and had {clients}; invoices has 0 rows, and had 7",
        "large objects": "0 came back of 2",
    }
    assert state(folder) == "damaged"
    found = Store(folder.parent).find(folder.name).proof
    assert found.damage.startswith("rehearsal: rows: clients has ")
    assert (found.proven_at, found.proven_on) == ("", "")


def test_another_structure_is_named(database, backup, rehearse):
    folder = backup(database)

    def change(rows):
        for kind, relation, name, definition in rows:
            if name in ("idx_clients_phone", "update_users_updated_at"):
                continue
            yield [kind, relation, name, definition.replace("now()", "NULL") if kind == "function" else definition]
        yield ["index", "clients", "idx_lost", "CREATE INDEX idx_lost ON public.clients (id)"]
        yield ["table", "lost", "", "table"]

    rows = json.loads((folder / "catalogue.json").read_text())
    manifest = read_manifest(folder)
    overwrite(folder / "catalogue.json", json.dumps(list(change(rows))))
    rewrite(folder, manifest)
    outcome = rehearse()
    assert outcome.code == 4
    assert f"{folder.name} did not come back as it was" in outcome.error
    assert list(findings(outcome)) == ["catalogue"]
    assert sorted(findings(outcome)["catalogue"].split("; ")) == [
        "function update_updated_at_column() differs",
        "index idx_clients_phone is not in the schema",
        "index idx_lost is missing",
        "table lost is missing",
        "trigger update_users_updated_at is not in the schema",
    ]
    assert state(folder) == "damaged"


# What a trigger's function does, and what is to be said of it.
BODIES = {
    "clients": ("RETURN NEW;", "the trigger of clients does not set updated_at"),
    "groups": ("RAISE 'no more changes';", "groups cannot be updated: no more changes"),
    # What applications do: only where a row changes, or only where the statement sets no time.
    "users": ("IF NEW IS DISTINCT FROM OLD THEN NEW.updated_at = now(); END IF; RETURN NEW;", ""),
    "call_records": ("IF NEW.updated_at = OLD.updated_at THEN NEW.updated_at = now(); END IF; RETURN NEW;", ""),
    # A bare name, which the application finds in schema public.
    "batch_calls": ("PERFORM 1 FROM users; NEW.updated_at = now(); RETURN NEW;", ""),
}


def test_a_trigger_that_leaves_updated_at_as_it_is_is_found(server, filled_database, backup, rehearse):
    with server.connect(filled_database) as connection:
        for table, (body, _) in BODIES.items():
            connection.execute(
                f"CREATE FUNCTION public.{table}_touch_updated_at() RETURNS trigger LANGUAGE plpgsql"
                f" AS $$BEGIN {body} END$$; DROP TRIGGER update_{table}_updated_at ON public.{table};"
                f"CREATE TRIGGER touch BEFORE UPDATE ON public.{table}"
                f" FOR EACH ROW EXECUTE FUNCTION public.{table}_touch_updated_at()"
            )
    folder = backup(filled_database)
    outcome = rehearse()
    assert outcome.code == 4
    assert findings(outcome) == {"triggers": "; ".join(finding for _, finding in BODIES.values() if finding)}
    assert state(folder) == "damaged"


def test_a_report_that_no_longer_runs_is_found(server, database, backup, rehearse):
    with server.connect(database) as connection:
        connection.execute("DROP TABLE public.whatsapp_conversations")
    folder = backup(database)
    manifest = read_manifest(folder)
    assert "groups" in manifest.reports
    assert "whatsapp" not in manifest.reports
    # "retired" is a report of another version, which this one cannot try.
    rewrite(folder, manifest, reports=(*manifest.reports, "whatsapp", "retired"))
    outcome = rehearse()
    assert outcome.code == 4
    assert list(findings(outcome)) == ["reports"]
    assert "whatsapp" in findings(outcome)["reports"]
    assert "retired" not in findings(outcome)["reports"]


def test_a_database_that_is_not_ours_can_be_proven(server, empty_database, backup, rehearse):
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(
            """
            CREATE SCHEMA "Ventas";
            CREATE TABLE "Ventas"."Ítem's" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a""b" text NOT NULL,
                                            half numeric GENERATED ALWAYS AS (1 / 2.0) STORED, updated_at timestamptz);
            INSERT INTO "Ventas"."Ítem's" ("a""b", updated_at) VALUES ('ñ', now()), ('', NULL);
            CREATE TABLE "Ventas".child () INHERITS ("Ventas"."Ítem's");
            INSERT INTO "Ventas".child (id, "a""b", updated_at) VALUES (7, 'x', now());
            CREATE TABLE public.log (at timestamptz) PARTITION BY RANGE (at);
            CREATE TABLE public.log_2026 PARTITION OF public.log FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
            INSERT INTO public.log VALUES ('2026-05-05');
            CREATE MATERIALIZED VIEW public.counted AS SELECT count(*) FROM "Ventas".child;
            CREATE FUNCTION "Ventas".touch() RETURNS trigger LANGUAGE plpgsql
                AS 'BEGIN NEW.updated_at = now(); RETURN NEW; END';
            CREATE TRIGGER touch BEFORE UPDATE ON "Ventas"."Ítem's" FOR EACH ROW EXECUTE FUNCTION "Ventas".touch();
            CREATE TRIGGER named BEFORE UPDATE OF "a""b" ON "Ventas".child
                FOR EACH ROW EXECUTE FUNCTION "Ventas".touch();
            SELECT lo_from_bytea(0, 'x')
            """
        )
    folder = backup(empty_database)
    assert read_manifest(folder).reports == ()
    assert rehearse().code == 0
    assert state(folder) == "proven"


def test_rows_without_their_tables_are_refused(database, backup, rehearse):
    folder = backup(database, "--data-only")
    outcome = rehearse()
    assert (outcome.code, state(folder)) == (2, "verified")
    assert "holds rows without their tables. Hint: rehearse a full backup" in outcome.error


def test_a_backup_of_the_structure_is_proven(filled_database, backup, rehearse):
    folder = backup(filled_database, "--schema-only", "--format", "plain")
    outcome = rehearse()
    assert (outcome.code, state(folder)) == (0, "proven"), outcome.out


def test_missing_roles_and_extensions_are_noted_and_no_damage(filled_database, backup, rehearse):
    folder = backup(filled_database, "--format", "plain", "--compress", "none")
    script = (folder / "dump.sql").read_text()
    around = (
        "CREATE EXTENSION IF NOT EXISTS no_such_extension WITH SCHEMA public;\n"
        "ALTER TABLE public.clients OWNER TO no_such_owner;\n"
        "GRANT SELECT ON TABLE public.clients TO no_such_role;\n"
    )
    end = "--\n-- PostgreSQL database dump complete"
    assert end in script
    overwrite(folder / "dump.sql", script.replace(end, around + end))
    rewrite(folder, read_manifest(folder))
    outcome = rehearse()
    assert outcome.code == 0, outcome.out + outcome.err
    assert "extensions that this server does not have: no_such_extension" in outcome.err
    assert "no member of: no_such_owner" in outcome.err
    assert "these roles are missing: no_such_role" in outcome.err
    assert state(folder) == "proven"


def test_by_a_role_that_may_only_create_databases(server, filled_database, backup, rehearse):
    folder = backup(filled_database)
    outcome = rehearse(scratch=server.dsn("postgres", OWNER))
    assert outcome.code == 0, outcome.out + outcome.err
    assert state(folder) == "proven"


def test_a_failing_restore_leaves_no_scratch_database_or_verdict(server, filled_database, backup, rehearse):
    with server.connect(filled_database) as connection:
        connection.execute("CREATE FUNCTION public.f(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT t'")
        connection.execute("CREATE INDEX broken ON public.clients (public.f(name))")
        # It runs here and nowhere else: what a restore has to build again fails.
        connection.execute(
            "CREATE OR REPLACE FUNCTION public.f(t text) RETURNS text IMMUTABLE LANGUAGE plpgsql"
            " AS $$BEGIN RAISE 'not today'; END$$"
        )
    folder = backup(filled_database)
    outcome = rehearse()
    assert (outcome.code, state(folder)) == (1, "verified")
    assert "not today" in outcome.error


def test_after_kill_9_the_next_rehearsal_clears_away(server, filled_database, backup, rehearse, store):
    folder = backup(filled_database)
    process = start_process("backup", "rehearse", "--directory", str(store), "--dsn", server.dsn("postgres"))
    until = time.monotonic() + 30
    while not scratch_databases(server) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(scratch_databases(server)) == 1
    assert state(folder) == "verified"
    time.sleep(0.5)  # the server notices that its client is gone
    assert rehearse().code == 0
    assert list(store.glob("*.partial")) == []
    assert state(folder) == "proven"


def test_a_dump_that_is_not_ours_is_refused(rehearse, tmp_path):
    file = tmp_path / "dump.sql"
    file.write_text("--\n-- PostgreSQL database dump\n--\n")
    assert "is not a backup of iacalls" in rehearse(str(file)).error
