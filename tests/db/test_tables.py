"""`iacalls db tables`, `describe` and `diagram`."""

import pytest

from iacalls_cli.errors import DatabaseError
from tests.report.test_documented import documented
from tests.support.command_line import run_terminal
from tests.support.servers import OWNER, READER, STRANGER, SUPERUSER


def test_tables_are_counted_as_the_documented_query_counts(server, filled_database, use, iacalls):
    use(filled_database)
    outcome = iacalls("db", "tables", "-o", "json")
    assert outcome.code == 0
    ours = {row["name"]: row["rows"] for row in outcome.json["data"] if row["kind"] == "table"}
    with server.connect(filled_database, OWNER) as connection:
        try:
            _, rows = documented(connection, "row-counts")
        except DatabaseError:  # a server without XML cannot run the documented query
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            rows = [
                ("public", name, connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for (name,) in names
            ]
        views = {name for (name,) in connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")}
    assert ours == {table: count for _, table, count in rows}
    assert {row["name"] for row in outcome.json["data"] if row["kind"] == "view"} == views


def test_tables_without_rights_are_not_counted(server, filled_database, use, iacalls):
    use(filled_database, STRANGER)
    outcome = iacalls("db", "tables", "-o", "json")
    assert outcome.code == 0
    assert {row["counted"] for row in outcome.json["data"]} <= {"estimate", ""}


def test_partitioned_tables_and_other_kinds(server, connection, database, use, iacalls):
    connection.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9)")
    connection.execute("INSERT INTO parts VALUES (1), (2)")
    connection.execute("CREATE MATERIALIZED VIEW kept AS SELECT 1")
    use(database)
    rows = {row["name"]: row for row in iacalls("db", "tables", "-o", "json").json["data"]}
    assert (rows["parts"]["kind"], rows["parts"]["rows"]) == ("partitioned table", 2)
    assert rows["kept"]["kind"] == "materialized view"
    assert "part1" not in rows


OWN_NAMES = (
    "CREATE FUNCTION public.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';"
    "CREATE FUNCTION public.key(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1'"
)
FOUND_BY_PATH = "CREATE OR REPLACE FUNCTION public.key(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT fold($1)'"


@pytest.fixture
def own_names(server, filled_database, use):
    """Indexes of three tables call a function that finds its names by search_path."""
    with server.connect(filled_database, OWNER) as connection:
        connection.execute(OWN_NAMES)
        connection.execute("CREATE INDEX ON clients (key(name))")
        connection.execute("CREATE INDEX ON users (key(username)) WHERE key(email) <> ''")
        connection.execute("CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id)")
        connection.execute("CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9)")
        connection.execute("CREATE TABLE part2 PARTITION OF parts DEFAULT")
        connection.execute("INSERT INTO parts VALUES (1), (2), (99)")
        connection.execute("CREATE INDEX ON parts (key(v))")
        connection.execute("CREATE MATERIALIZED VIEW kept AS SELECT 'x'::text AS v")
        connection.execute("CREATE INDEX ON kept (key(v))")
        connection.execute(FOUND_BY_PATH)
    use(filled_database)
    return filled_database


def test_an_index_that_needs_search_path_stops_no_count(server, own_names, iacalls):
    outcome = iacalls("db", "tables", "-o", "json")
    assert outcome.code == 0
    rows = {row["name"]: row for row in outcome.json["data"]}
    with server.connect(own_names, OWNER) as connection:
        for name in ("clients", "users", "groups", "call_records", "parts"):
            exact = connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            assert (rows[name]["rows"], rows[name]["counted"]) == (exact, "exact")
    if server.major < 18:  # where COPY reads no materialized view
        assert rows["kept"]["rows"] is None
        assert rows["kept"]["counted"].startswith("not counted: cannot copy from materialized view")
    else:
        assert (rows["kept"]["rows"], rows["kept"]["counted"]) == (1, "exact")


def test_an_index_that_needs_search_path_stops_no_verify(own_names, iacalls):
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code in (0, 4)
    assert {row["counted"] for row in outcome.json["data"] if row["kind"] == "table"} == {"exact"}
    assert iacalls("db", "describe", "clients").code == 0
    assert iacalls("db", "diagram").code == 0
    assert iacalls("monitor", "sizes").code == 0
    assert iacalls("monitor", "indexes").code == 0


@pytest.mark.postgres(">= 15")
def test_an_index_that_needs_search_path_stops_no_report(server, own_names, iacalls):
    for report in ("groups", "calls", "stats", "top-clients", "client-history 1", "batch-statistics"):
        outcome = iacalls("report", *report.split())
        assert outcome.code == 0, (report, outcome.err)
    assert iacalls("users", "list").code == 0
    assert iacalls("report", "check").code == 0


@pytest.mark.parametrize("role", [READER, SUPERUSER])
def test_a_role_with_an_untrusted_path_is_told_of_the_function(server, own_names, use, iacalls, role):
    """The owner of the database could have put an operator into public, to be run with this role's privileges."""
    use(own_names, role)
    outcome = iacalls("users", "list")
    assert outcome.code == 1
    assert "function fold(text) does not exist" in outcome.error
    assert "the function key finds its names by search_path" in outcome.error


@pytest.mark.postgres(">= 15")
@pytest.mark.parametrize(
    "trap",
    [
        f"GRANT CREATE ON SCHEMA public TO {STRANGER}",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        f"CREATE FUNCTION public.lower(a varchar) RETURNS text LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION public.lower(varchar) OWNER TO {STRANGER}",
        f"CREATE FUNCTION t(varchar, text) RETURNS bool LANGUAGE sql AS 'SELECT true'; "
        f"CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = text, FUNCTION = t); ALTER OPERATOR = (varchar, text) OWNER TO {STRANGER}",
        f"CREATE SCHEMA app AUTHORIZATION {STRANGER}; GRANT USAGE ON SCHEMA app TO PUBLIC; "
        f"ALTER ROLE {OWNER} IN DATABASE {{}} SET search_path = app, public",
    ],
)  # fmt: skip
def test_a_path_that_strangers_can_change_is_not_used(server, own_names, iacalls, trap):
    with server.connect(own_names) as admin:
        admin.execute("SET search_path = public")
        admin.execute(trap.format(own_names))
    outcome = iacalls("users", "list")
    assert outcome.code == 1
    assert "function fold(text) does not exist" in outcome.error


def test_row_security_forced_on_the_owner_is_no_exact_count(server, filled_database, use, iacalls):
    with server.connect(filled_database, OWNER) as connection:
        rows = connection.execute("SELECT count(*) FROM groups").fetchone()[0]
        connection.execute(
            "ALTER TABLE clients ENABLE ROW LEVEL SECURITY; ALTER TABLE clients FORCE ROW LEVEL SECURITY"
        )
        connection.execute("CREATE POLICY p ON clients USING (id % 2 = 0)")
        connection.execute("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE users FORCE ROW LEVEL SECURITY")
    use(filled_database)
    for command in ("tables", "verify"):
        shown = {row["name"]: row for row in iacalls("db", command, "-o", "json").json["data"]}
        assert (shown["clients"]["rows"], shown["clients"]["counted"]) == (None, "not counted: row security")
        assert (shown["groups"]["rows"], shown["groups"]["counted"]) == (rows, "exact")
    assert "passwords were not checked" in iacalls("db", "verify").out
    use(filled_database, SUPERUSER)
    assert {row["counted"] for row in iacalls("db", "tables", "-o", "json").json["data"]} == {"exact", ""}


def test_row_security_for_a_role_that_only_reads(server, filled_database, use, iacalls):
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("ALTER TABLE clients ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY p ON clients USING (id % 2 = 0)")
    use(filled_database, READER)
    shown = {row["name"]: row for row in iacalls("db", "tables", "-o", "json").json["data"]}
    assert (shown["clients"]["rows"], shown["clients"]["counted"]) == (None, "not counted: row security")
    use(filled_database)
    assert {row["counted"] for row in iacalls("db", "tables", "-o", "json").json["data"]} == {"exact", ""}


def test_many_tables_need_no_large_lock_table(server, connection, database, use, iacalls, monkeypatch):
    """The locks of one part are released before the next, and all parts count one snapshot."""
    from iacalls_cli.operations.db import tables

    monkeypatch.setattr(tables, "TABLES_A_STATEMENT", 3)
    seen = []
    original = tables.select_counts

    def watch(session, statement):
        held = session.execute("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation > 16384")
        seen.append(held.fetchone()[0])
        if len(seen) == 2:
            connection.execute("INSERT INTO whatsapp_conversations (phone_number) VALUES ('1')")
        return original(session, statement)

    monkeypatch.setattr(tables, "select_counts", watch)
    use(database)
    rows = {row["name"]: row["rows"] for row in iacalls("db", "tables", "-o", "json").json["data"]}
    assert len(seen) > 2
    assert set(seen) == {0}
    assert rows["whatsapp_conversations"] == 0


def test_describe_shows_what_psql_shows(server, filled_database, use, iacalls):
    use(filled_database, READER)
    outcome = iacalls("db", "describe", "client_groups", "-o", "json")
    assert outcome.code == 0
    described = outcome.json
    assert [row["column"] for row in described["data"]] == ["id", "client_id", "group_id", "assigned_by", "assigned_at"]
    assert described["data"][1]["nullable"] is False
    assert {row["index"] for row in described["indexes"]} == {
        "client_groups_pkey", "client_groups_client_id_group_id_key", "idx_client_groups_client_id",
        "idx_client_groups_group_id", "idx_client_groups_assigned_by",
    }  # fmt: skip
    assert (
        "ON DELETE CASCADE"
        in {row["constraint"]: row["definition"] for row in described["constraints"]}["client_groups_client_id_fkey"]
    )
    assert described["triggers"] == []
    clients = iacalls("db", "describe", "clients", "-o", "json").json
    assert {row["table"] for row in clients["referenced_by"]} == {"call_records", "client_groups"}
    assert clients["triggers"][0]["state"] == "enabled"
    assert clients["relation"]["comment"]


def test_describe_a_view_and_an_odd_name(server, connection, database, use, iacalls):
    connection.execute('CREATE TABLE "Año ""[x]""" ("a-b" int)')
    use(database)
    view = iacalls("db", "describe", "group_statistics", "-o", "json").json
    assert view["relation"]["kind"] == "view"
    assert "success_rate" in view["relation"]["definition"]
    assert iacalls("db", "describe", 'Año "[x]"', "-o", "json").json["data"][0]["column"] == "a-b"
    assert iacalls("db", "describe", "USERS").code == 0
    assert iacalls("db", "describe", "pg_catalog.pg_class").code == 0


def test_describe_what_is_not_there(database, use, iacalls):
    use(database)
    outcome = iacalls("db", "describe", "call_record")
    assert outcome.code == 1
    assert "did you mean call_records" in outcome.error
    assert "`iacalls db tables`" in iacalls("db", "describe", "zzz").error


def test_diagram_of_the_live_database(database, use, iacalls):
    use(database, READER)
    text = iacalls("db", "diagram").out
    assert "batch_calls\n└── call_records.batch_call_id  (on delete cascade)" in text
    mermaid = iacalls("db", "diagram", "-o", "mermaid").out
    assert mermaid.startswith("erDiagram\n")
    assert '    clients ||--o{ client_groups : "client_id (CASCADE)"' in mermaid
    assert '    clients |o--o{ call_records : "client_id (SET NULL)"' in mermaid
    dot = iacalls("db", "diagram", "-o", "dot").out
    assert dot.startswith("digraph")
    assert dot.count(" -> ") == mermaid.count("--o{") == 12


@pytest.mark.parametrize("output", ["text", "mermaid", "dot"])
def test_diagram_with_odd_names(server, connection, database, use, iacalls, output):
    connection.execute('CREATE TABLE "ñ ""q""" (id int PRIMARY KEY, "a-b" int REFERENCES users)')
    use(database)
    outcome = iacalls("db", "diagram", "-o", output)
    assert outcome.code == 0
    assert "a-b" in outcome.out


@pytest.mark.parametrize("command", ["db diagram", "db diagram -o mermaid", "db diagram -o dot", "db verify --sql"])
def test_a_name_from_the_database_does_not_drive_the_terminal(server, connection, database, command):
    connection.execute(
        'CREATE TABLE "esc\x1b]0;owned\x07\n" (id int); ALTER TABLE users RENAME CONSTRAINT users_email_key TO "\x1b[2J"'
    )
    _, screen = run_terminal(*command.split(), env={"IACALLS_DSN": server.dsn(database, OWNER), "NO_COLOR": "1"})
    assert "\x1b]0;" not in screen
    assert "\x1b[2J" not in screen
    assert "\x07" not in screen


@pytest.mark.parametrize("locked", ["users", "users_pkey", "days_1", "mv"])
def test_a_locked_table_keeps_no_other_from_being_counted(server, connection, database, use, iacalls, locked):
    connection.execute("CREATE TABLE days (d int) PARTITION BY RANGE (d)")
    connection.execute("CREATE TABLE days_1 PARTITION OF days DEFAULT")
    connection.execute("CREATE MATERIALIZED VIEW mv AS SELECT 1 AS a")
    use(database)
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN")
        if locked == "users_pkey":
            other.execute("ALTER INDEX public.users_pkey RENAME TO users_pkey_2")
        elif locked == "mv":
            other.execute("REFRESH MATERIALIZED VIEW public.mv")
        else:
            other.execute(f"LOCK TABLE public.{locked} IN ACCESS EXCLUSIVE MODE")
        outcome = iacalls("db", "tables", "-o", "json")
        other.execute("ROLLBACK")
    assert outcome.code == 0, outcome.err
    rows = {row["name"]: row for row in outcome.json["data"]}
    table = {"users_pkey": "users", "days_1": "days"}.get(locked, locked)
    held = [name for name, row in rows.items() if row["counted"] == "not counted: locked by another session"]
    if locked != "users_pkey":
        assert held == [table]
        assert (rows[table]["rows"], rows[table]["size"]) == (None, None)
    assert rows["clients"]["counted"] == "exact"
