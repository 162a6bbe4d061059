"""`iacalls db verify`: every kind of drift is found, named, and mended by the SQL it prints."""

import bcrypt
import psycopg
import pytest

from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.statements import create
from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.sql_text import scan
from tests.support.refusals import refused
from tests.support.servers import OWNER, READER, STRANGER

# One change for each thing that is compared: (statement, object, words of the finding).
DRIFT = [
    ("DROP TABLE uploaded_files", "table uploaded_files", "is missing"),
    ("DROP VIEW batch_call_statistics", "view batch_call_statistics", "is missing"),
    ("ALTER TABLE clients DROP COLUMN review", "column clients.review", "is missing"),
    ("DROP VIEW client_call_history; ALTER TABLE clients ALTER phone TYPE text;"
     + create("client_call_history"), "column clients.phone", "is text, and should be character varying(50)"),
    ("ALTER TABLE users ALTER time TYPE timestamptz", "column users.time", "is timestamp with time zone, and should be timestamp without time zone"),
    ("ALTER TABLE clients ALTER name DROP NOT NULL", "column clients.name", "allows NULL"),
    ("ALTER TABLE clients ALTER phone SET NOT NULL", "column clients.phone", "does not allow NULL"),
    ("ALTER TABLE groups ALTER prefix DROP DEFAULT", "column groups.prefix", "has no default"),
    ("ALTER TABLE groups ALTER prefix SET DEFAULT '+34'", "column groups.prefix", "has the default '+34'::character varying, and should be '+57'::character varying"),
    ("ALTER TABLE uploaded_files DROP CONSTRAINT uploaded_files_pkey", "primary key uploaded_files_pkey", "is missing"),
    ("ALTER TABLE users DROP CONSTRAINT users_email_key", "unique users_email_key", "is missing"),
    ("ALTER TABLE users RENAME CONSTRAINT users_email_key TO mail", "unique users_email_key", "is named mail here"),
    ("ALTER TABLE users DROP CONSTRAINT users_role_check", "check users_role_check", "is missing"),
    ("ALTER TABLE users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check CHECK (role IN ('admin', 'User'))",
     "check users_role_check", "is CHECK"),
    ("ALTER TABLE call_records DROP CONSTRAINT call_records_batch_call_id_fkey, ADD CONSTRAINT "
     "call_records_batch_call_id_fkey FOREIGN KEY (batch_call_id) REFERENCES batch_calls",
     "foreign key call_records_batch_call_id_fkey", "is FOREIGN KEY"),
    ("ALTER TABLE groups DROP CONSTRAINT groups_created_by_fkey", "foreign key groups_created_by_fkey", "is missing"),
    ("DROP INDEX idx_clients_phone", "index idx_clients_phone", "is missing"),
    ("DROP INDEX idx_clients_phone; CREATE INDEX idx_clients_phone ON clients (phone DESC)", "index idx_clients_phone", "is CREATE INDEX"),
    ("DROP TRIGGER update_users_updated_at ON users", "trigger update_users_updated_at", "is missing"),
    ("ALTER TABLE users DISABLE TRIGGER update_users_updated_at", "trigger update_users_updated_at", "is DISABLED"),
    ("CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS "
     "'BEGIN RETURN NEW; END'", "function update_updated_at_column()", "differs"),
    ("ALTER SEQUENCE users_id_seq OWNED BY NONE", "column users.id", "does not own its sequence"),
    ("DROP VIEW group_statistics; CREATE VIEW group_statistics AS SELECT 1 AS id", "column group_statistics.name", "is missing"),
    (create("client_call_history").replace("client.is_active", "NOT client.is_active"), "view client_call_history", "differs"),
    (create("group_statistics").replace("> 0", ">= 0"), "view group_statistics", "differs"),
    ("ALTER TABLE users DROP COLUMN id CASCADE", "column users.id", "is missing"),
    ("ALTER TABLE users ALTER id DROP DEFAULT; DROP SEQUENCE users_id_seq", "column users.id", "does not own its sequence"),
    ("ALTER TABLE groups DROP CONSTRAINT groups_created_by_fkey, ADD CONSTRAINT other FOREIGN KEY (created_by) "
     "REFERENCES users ON DELETE CASCADE", "foreign key groups_created_by_fkey", "is other: FOREIGN KEY"),
    ('ALTER TABLE groups ALTER idioma TYPE varchar(10) COLLATE "C"', "column groups.idioma", 'is character varying(10) COLLATE "C"'),
    ("ALTER TABLE clients ADD dni varchar NOT NULL", "column clients.dni", "does not allow NULL"),
    ("DROP VIEW group_statistics; CREATE VIEW group_statistics AS SELECT 1 AS id, ''::varchar(255) AS nombre",
     "column group_statistics.name", "is missing"),
    ("DROP TABLE call_records CASCADE; DROP TABLE whatsapp_conversations", "table call_records", "is missing"),
    ("ALTER TABLE call_records DROP CONSTRAINT call_records_client_id_fkey, ADD CONSTRAINT call_records_client_id_fkey "
     "FOREIGN KEY (client_id) REFERENCES clients ON DELETE SET NULL NOT VALID",
     "foreign key call_records_client_id_fkey", "is NOT VALID"),
    ("DROP VIEW client_call_history; ALTER TABLE call_records ALTER call_duration_secs TYPE text;"
     + create("client_call_history"), "column call_records.call_duration_secs", "is text"),
]  # fmt: skip


def run_script(connection, text):
    """Run statements one by one, as psql does, and then find tables by their bare names again."""
    statement = ""
    try:
        for kind, piece in scan(text):
            statement += piece
            if kind == "semicolon":
                connection.execute(statement)
                statement = ""
    finally:
        connection.rollback()
        connection.execute("SET search_path = public, pg_temp")


def problems(connection):
    return [item for item in verify_database(connection).findings if item.verdict == "problem"]


@pytest.mark.parametrize(("statement", "what", "finding"), DRIFT)
def test_drift_is_found_and_mended(connection, statement, what, finding):
    connection.execute(statement)
    told = [item.finding for item in problems(connection) if item.object == what]
    assert any(words.startswith(finding) or finding in words for words in told), told
    run_script(connection, repair_script(verify_database(connection).differences))
    assert problems(connection) == []


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [("", 1), ("INSERT INTO clients (id, name) VALUES (41, 'x');", 42), ("SELECT nextval('clients_id_seq');", 2),
     ("SELECT setval('clients_id_seq', 70); INSERT INTO clients (id, name) VALUES (41, 'x');", 71)],
)  # fmt: skip
def test_a_sequence_is_moved_on_and_never_back(connection, rows, wanted):
    """The next value is the first that no row has, and none is given twice."""
    connection.execute(f"{rows} ALTER SEQUENCE clients_id_seq OWNED BY NONE")
    run_script(connection, repair_script(verify_database(connection).differences))
    assert problems(connection) == []
    assert connection.execute("INSERT INTO clients (name) VALUES ('y') RETURNING id").fetchone() == (wanted,)


def test_what_only_people_can_decide_is_left_as_a_comment(connection):
    """What to put into a required column, nobody else knows."""
    connection.execute("ALTER TABLE users DROP COLUMN username CASCADE")
    script = repair_script(verify_database(connection).differences)
    run_script(connection, script)
    assert "-- Fill users.username" in script
    assert [(item.object, item.finding) for item in problems(connection)] == [
        ("column users.username", "allows NULL; 1 rows have NULL")
    ]


def test_all_drift_at_once_is_mended_by_one_script(connection):
    """In the order in which the objects need each other, and without losing a row."""
    connection.execute("INSERT INTO clients (id, name, phone) VALUES (41, 'Ana', '+573001234567')")
    connection.execute(
        "DROP TABLE whatsapp_conversations, call_records CASCADE; DROP FUNCTION update_updated_at_column CASCADE;"
        "ALTER TABLE clients DROP CONSTRAINT clients_pkey CASCADE; DROP VIEW batch_call_statistics;"
        "ALTER TABLE clients ALTER id DROP DEFAULT; DROP SEQUENCE clients_id_seq; DROP INDEX idx_groups_name;"
        "ALTER TABLE clients ALTER phone TYPE text; ALTER TABLE users DROP CONSTRAINT users_role_check"
    )
    run_script(connection, repair_script(verify_database(connection).differences))
    assert problems(connection) == []
    new = connection.execute("INSERT INTO clients (name) VALUES ('Beto') RETURNING id").fetchone()[0]
    assert new > 41
    assert connection.execute("SELECT phone FROM clients WHERE id = 41").fetchone() == ("+573001234567",)


@pytest.mark.parametrize(
    ("damage", "object_", "words", "comment"),
    [
        ('ALTER TABLE groups RENAME "created-by" TO made_by', "column groups.created-by", "may be made_by under another name",
         '-- ALTER TABLE public.groups RENAME COLUMN made_by TO "created-by";'),
        ("DROP VIEW group_statistics; CREATE TABLE group_statistics (id int)", "view group_statistics", "is a table here",
         "-- CREATE OR REPLACE VIEW public.group_statistics"),
        ("DROP VIEW group_statistics; CREATE MATERIALIZED VIEW group_statistics AS SELECT 1 AS id", "view group_statistics",
         "is a materialized view here", "-- CREATE OR REPLACE VIEW public.group_statistics"),
        ("DROP TABLE uploaded_files; CREATE VIEW uploaded_files AS SELECT 1 AS id", "table uploaded_files", "is a view here",
         "-- Rename or drop it"),
    ],
)  # fmt: skip
def test_a_decision_is_left_to_people(connection, damage, object_, words, comment):
    """What stands in the way may hold data: the script proposes, and verify goes on to tell."""
    connection.execute(damage)
    [problem] = problems(connection)
    assert problem.object == object_
    assert words in problem.finding
    script = repair_script(verify_database(connection).differences)
    assert comment in script
    run_script(connection, script)
    assert [item.object for item in problems(connection)] == [object_]


@pytest.mark.parametrize(
    ("damage", "object_"),
    [
        ("CREATE RULE vanish AS ON INSERT TO call_records DO INSTEAD NOTHING", "rule vanish"),
        ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", "row security users"),
        ("ALTER TABLE clients ADD CONSTRAINT tall CHECK (name <> '')", "check tall"),
        ("ALTER TABLE clients ADD CONSTRAINT one UNIQUE (phone)", "unique one"),
        ("ALTER TABLE clients ADD boss int REFERENCES users ON DELETE CASCADE", "foreign key clients_boss_fkey"),
    ],
)
def test_what_may_refuse_or_hide_rows_is_a_warning(connection, damage, object_):
    connection.execute(damage)
    verification = verify_database(connection)
    assert verification.problems == 0
    assert object_ in {item.object for item in verification.findings if item.verdict == "warning"}


def test_an_identity_column_does_what_a_serial_one_does(connection):
    connection.execute(
        "ALTER TABLE groups ALTER id DROP DEFAULT; DROP SEQUENCE groups_id_seq;"
        "ALTER TABLE groups ALTER id ADD GENERATED BY DEFAULT AS IDENTITY"
    )
    assert problems(connection) == []


def test_an_empty_database_is_for_init(empty_database, use, iacalls):
    use(empty_database)
    outcome = iacalls("db", "verify")
    assert outcome.code == 4
    assert "iacalls db init" in outcome.error


@pytest.mark.parametrize(
    ("damage", "value"),
    [("ALTER TABLE call_records ALTER call_duration_secs TYPE numeric", "10.7"),
     ("ALTER TABLE call_records ALTER call_duration_secs TYPE double precision", "10.7"),
     ("ALTER TABLE call_records ALTER call_duration_secs TYPE text", "10.7"),
     ("ALTER TABLE call_records ALTER audio_size TYPE numeric", "0.5")],
)  # fmt: skip
def test_mending_never_rounds_a_number(connection, damage, value):
    column = damage.split()[4]
    connection.execute(f"DROP VIEW client_call_history; {damage}; " + create("client_call_history"))
    connection.execute(f"INSERT INTO call_records (phone_number, {column}) VALUES ('1', {value})")
    script = repair_script(verify_database(connection).differences)
    with refused(psycopg.errors.InvalidTextRepresentation):
        run_script(connection, script)
    assert connection.execute(f"SELECT {column}::text FROM call_records").fetchone() == (value,)
    connection.execute(f"UPDATE call_records SET {column} = '12'")
    run_script(connection, script)
    assert problems(connection) == []


def test_mending_never_cuts_a_value(connection):
    connection.execute(
        "DROP VIEW client_call_history; ALTER TABLE clients ALTER phone TYPE text;" + create("client_call_history")
    )
    connection.execute("INSERT INTO clients (name, phone) VALUES ('Ana', repeat('9', 60))")
    script = repair_script(verify_database(connection).differences)
    with refused(psycopg.errors.StringDataRightTruncation):
        run_script(connection, script)
    assert connection.execute("SELECT length(phone) FROM clients").fetchone() == (60,)
    assert connection.execute("SELECT to_regclass('client_call_history')").fetchone() != (None,)


def test_rows_that_break_a_key_do_not_undo_the_rest(connection):
    """A key is validated after the transaction; until then it holds for new rows."""
    connection.execute(
        "DROP INDEX idx_clients_phone; ALTER TABLE call_records DROP CONSTRAINT call_records_client_id_fkey"
    )
    connection.execute("INSERT INTO call_records (client_id, phone_number) VALUES (999, '1')")
    script = repair_script(verify_database(connection).differences)
    assert "-- ALTER TABLE public.call_records VALIDATE CONSTRAINT call_records_client_id_fkey;" in script
    run_script(connection, script)
    left = {item.object: item.finding for item in problems(connection)}
    assert left == {"foreign key call_records_client_id_fkey": "is NOT VALID; 1 rows refer to rows that are missing"}


def test_another_author_writes_the_same_view_otherwise(connection):
    connection.execute(
        "CREATE OR REPLACE VIEW client_call_history AS SELECT p.id AS client_id, p.name AS client_name, p.phone AS "
        "client_phone, r.id AS call_record_id, r.status AS call_status, r.call_duration_secs, r.transcript_summary, "
        "r.call_started_at, r.call_ended_at, b.batch_id, b.call_name AS batch_name, groups.name AS group_name "
        "FROM clients p LEFT JOIN call_records r ON p.id = r.client_id LEFT JOIN batch_calls b ON r.batch_call_id = b.id "
        "LEFT JOIN groups ON b.group_id = groups.id WHERE p.is_active = TRUE ORDER BY r.call_started_at DESC"
    )
    assert problems(connection) == []


def test_the_documented_database_has_no_finding(server, connection):
    assert verify_database(connection).findings == ()


def test_a_restored_database_has_no_finding(server, connection):
    """A dump writes checks with the casts elsewhere; that is not drift."""
    connection.execute("ALTER TABLE users DROP CONSTRAINT users_role_check")
    connection.execute(
        "ALTER TABLE users ADD CONSTRAINT users_role_check CHECK (((role)::text = ANY ((ARRAY['admin'::character varying, "
        "'user'::character varying, 'agent'::character varying])::text[])))"
    )
    connection.execute(
        "CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN\n  NEW.updated_at = NOW();\n  RETURN NEW;\nEND;$$"
    )
    connection.execute("ALTER TABLE users ALTER created_at SET DEFAULT CURRENT_TIMESTAMP")
    assert verify_database(connection).problems == 0


def test_what_the_schema_does_not_know_is_only_noted(server, connection):
    connection.execute("CREATE TABLE agents (id serial PRIMARY KEY)")
    connection.execute(
        "ALTER TABLE groups ADD agent_id varchar(255); CREATE INDEX idx_groups_agent_id ON groups (agent_id)"
    )
    verification = verify_database(connection)
    noted = {(item.verdict, item.object) for item in verification.findings}
    assert noted == {
        ("note", "table agents"),
        ("note", "column groups.agent_id"),
        ("note", "index idx_groups_agent_id"),
    }
    assert verification.problems == 0


def test_an_invalid_index_is_found(server, connection):
    connection.execute("INSERT INTO clients (name, phone) VALUES ('a', '1'), ('b', '1')")
    with pytest.raises(Exception, match="unique"):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY half ON clients (phone)")
    connection.execute("DROP INDEX idx_clients_phone; ALTER INDEX half RENAME TO idx_clients_phone")
    findings = [item.finding for item in verify_database(connection).findings]
    assert "is INVALID" in findings


def test_lineage_b_is_told_table_by_table(server, empty_database, use, iacalls):
    """What another generator of the application makes: no checks, no triggers, other columns."""
    with server.connect(empty_database, OWNER) as connection:
        connection.execute("CREATE TABLE users (id serial PRIMARY KEY, username varchar(50) UNIQUE NOT NULL)")
        connection.execute('CREATE TABLE groups (id serial PRIMARY KEY, "created-by" integer)')
    use(empty_database)
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code == 4
    states = {row["name"]: row["state"] for row in outcome.json["data"]}
    assert states["users"] == "problem"
    assert states["call_records"] == "missing"
    objects = {(item["object"], item["finding"]) for item in outcome.json["findings"]}
    assert ("column groups.created-by", "is integer, and should be character varying(255)") in objects
    assert ("table call_records", "is missing") in objects
    assert not any("call_records." in what for what, _ in objects)


def test_exit_codes_and_counts(server, filled_database, use, iacalls):
    use(filled_database)
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code == 0
    with server.connect(filled_database, OWNER) as connection:
        for row in outcome.json["data"]:
            if row["kind"] == "table":
                count = connection.execute(f"SELECT count(*) FROM {row['name']}").fetchone()[0]
                assert (row["rows"], row["counted"]) == (count, "exact")
        connection.execute("DROP INDEX idx_clients_phone")
    outcome = iacalls("db", "verify")
    assert outcome.code == 4
    assert "index idx_clients_phone" in outcome.out
    assert "1 differences" in outcome.error


def test_the_mending_sql_mends(server, filled_database, use, iacalls):
    use(filled_database)
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("DROP INDEX idx_clients_phone; ALTER TABLE users DISABLE TRIGGER USER")
        outcome = iacalls("db", "verify", "--sql")
        assert outcome.code == 4
        run_script(connection, outcome.out)
    assert iacalls("db", "verify").code == 0


def test_estimates_are_marked(server, connection, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.db.tables.COUNTED_ROWS", 10)
    connection.execute("INSERT INTO clients (name) SELECT 'x' FROM generate_series(1, 1000)")
    connection.execute("ANALYZE clients")
    connection.execute("INSERT INTO clients (name) VALUES ('one more')")
    tables = {table.name: table for table in verify_database(connection, estimate=True).tables}
    assert (tables["clients"].rows, tables["clients"].counted) == (1000, "estimate")
    assert tables["users"].counted == "exact"
    tables = {table.name: table for table in verify_database(connection).tables}
    assert (tables["clients"].rows, tables["clients"].counted) == (1001, "exact")


def test_a_read_only_role_may_verify(server, filled_database, use, iacalls):
    use(filled_database, READER)
    assert iacalls("db", "verify").code == 0


def test_a_role_without_any_right_is_told_what_it_may_not(server, filled_database, use, iacalls):
    use(filled_database, STRANGER)
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code == 0
    assert any("passwords were not checked" in item["finding"] for item in outcome.json["findings"])
    assert {row["counted"] for row in outcome.json["data"]} <= {"estimate", ""}


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
def test_the_default_password_is_found_and_never_shown(server, connection, database, use, iacalls, prefix):
    stored = bcrypt.hashpw(b"admin123", bcrypt.gensalt(4, prefix=prefix)).decode()
    connection.execute(
        "INSERT INTO users (username, email, password, role) VALUES ('otra', 'o', %s, 'user'), ('broken', 'b', 'plain', 'user')",
        [stored],
    )
    use(database)
    outcome = iacalls("db", "verify")
    assert outcome.code == 0
    assert "user otra" in outcome.out
    assert "set-password otra" in outcome.out
    assert "user admin" not in outcome.out
    assert stored not in outcome.out + outcome.err


def test_a_hostile_name_stays_a_name(server, connection, database, use, iacalls):
    connection.execute('CREATE TABLE "x; DROP TABLE users; --" (id int)')
    connection.execute('CREATE TABLE "bo""ld\x1b[31m[red]" (id int)')
    use(database)
    outcome = iacalls("db", "verify")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out
    assert iacalls("db", "tables").code == 0
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_a_name_cannot_add_to_the_mending_script(connection):
    connection.execute(
        'ALTER TABLE users RENAME CONSTRAINT users_email_key TO "x\nDROP TABLE gcp_documents;--\x1b[31m"'
    )
    script = repair_script(verify_database(connection).differences)
    comments = [line for line in script.splitlines() if "gcp_documents" in line and not line.startswith("--")]
    assert all('"' in line for line in comments) or not comments
    run_script(connection, script)
    assert problems(connection) == []
    assert connection.execute("SELECT to_regclass('gcp_documents') IS NOT NULL").fetchone() == (True,)


def test_odd_tables_do_not_stop_it(server, connection, database, use, iacalls):
    connection.execute("CREATE MATERIALIZED VIEW later AS SELECT 1 WITH NO DATA")
    connection.execute("CREATE TABLE many_" + "; CREATE TABLE many_".join(f"{n} ()" for n in range(1700)))
    use(database)
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code == 0
    assert iacalls("db", "tables").code == 0


def test_settings_of_the_database_change_nothing(server, database, use, iacalls):
    with server.connect(database) as connection:
        connection.execute(f"ALTER DATABASE {database} SET quote_all_identifiers = on")
        connection.execute(f"ALTER DATABASE {database} SET standard_conforming_strings = off")
    use(database)
    assert iacalls("db", "verify").code == 0


@pytest.mark.parametrize(
    "other", ["CREATE TABLE own (id int)", "CREATE SEQUENCE own", "CREATE VIEW own AS SELECT 1 AS a"]
)
def test_no_hint_names_init_where_it_refuses(server, empty_database, use, iacalls, other):
    use(empty_database)
    assert "iacalls db init" in iacalls("db", "verify").error
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(f"SET search_path = public; {other}")
    assert iacalls("db", "init", "--allow-default-password").code == 1
    for command in (("db", "verify"), ("report", "groups"), ("users", "list")):
        outcome = iacalls(*command)
        assert outcome.code in (1, 4)
        assert "db init" not in outcome.error
        assert "db verify" in outcome.error
    long = server.dsn("n" * 64, OWNER)
    assert "db init" not in iacalls("users", "list", "--dsn", long).error
