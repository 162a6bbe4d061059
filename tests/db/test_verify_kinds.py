"""`db verify`: kinds of drift that are found and repaired, kinds that are only noted, and what is never run for it."""

import json

import pytest

from iacalls_cli.operations.backup.catalog import FORMAT, load_catalog, write_catalog
from iacalls_cli.operations.db.catalog import LATER_KINDS, ObjectKey, expected_catalog
from iacalls_cli.operations.db.meaning import column_of, is_plain
from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.statements import create
from iacalls_cli.operations.db.verify import verify_database
from tests.db.test_verify import problems, run_script
from tests.support.servers import OWNER

FUNCTION = "update_updated_at_column()"


def told(connection):
    return [(item.verdict, item.object, str(item.finding)) for item in verify_database(connection).findings]


def repair_each(connection, cases):
    """Make each change, find it as a problem, have the script repair it."""
    for statement, what, words in cases:
        connection.execute(statement)
        found = [finding for verdict, object_, finding in told(connection) if (verdict, object_) == ("problem", what)]
        assert any(words in finding for finding in found), (statement, told(connection))
        run_script(connection, repair_script(verify_database(connection).differences))
        assert problems(connection) == [], statement


def test_persistence_and_options_are_found_and_repaired(connection):
    """What a crash, a replica or another role would show."""
    repair_each(
        connection,
        [
            ("ALTER TABLE call_records SET UNLOGGED; ALTER TABLE client_groups SET UNLOGGED", "table call_records", "is UNLOGGED"),
            ("ALTER TABLE call_records SET UNLOGGED; ALTER TABLE client_groups SET UNLOGGED; ALTER TABLE groups "
             "DROP CONSTRAINT groups_created_by_fkey", "table client_groups", "is UNLOGGED"),
            ("ALTER VIEW group_statistics SET (security_barrier)", "view group_statistics", "security_barrier=true"),
            ("DROP VIEW group_statistics; " + create("group_statistics").replace("group_statistics AS", "group_statistics WITH (security_barrier) AS").replace("> 0", "> 1"),
             "view group_statistics", "security_barrier=true"),
            (f"ALTER FUNCTION {FUNCTION} SECURITY DEFINER SET search_path = public", f"function {FUNCTION}", "is SECURITY DEFINER SET search_path=public"),
            (f"ALTER FUNCTION {FUNCTION} STRICT", f"function {FUNCTION}", "is STRICT"),
            (f"ALTER FUNCTION {FUNCTION} IMMUTABLE PARALLEL SAFE", f"function {FUNCTION}", "is IMMUTABLE PARALLEL SAFE"),
            ("ALTER TABLE users REPLICA IDENTITY NOTHING", "table users", "has the replica identity NOTHING"),
        ],
    )  # fmt: skip


@pytest.mark.postgres(">= 15")
def test_security_invoker_and_sequences_without_a_log_are_found(connection):
    repair_each(
        connection,
        [
            ("ALTER VIEW client_call_history SET (security_invoker)", "view client_call_history", "security_invoker=true"),
            ("ALTER SEQUENCE users_id_seq SET UNLOGGED", "column users.id", "is UNLOGGED, and begins anew after a crash"),
        ],
    )  # fmt: skip


def test_columns_that_take_no_value_are_found_and_repaired(connection):
    """An application's INSERT with a value for such a column would fail."""
    always = "ALTER TABLE {0} ALTER {1} DROP DEFAULT; ALTER TABLE {0} ALTER {1} SET NOT NULL; ALTER TABLE {0} ALTER {1} ADD GENERATED ALWAYS AS IDENTITY"
    repair_each(
        connection,
        [
            ("DROP SEQUENCE users_id_seq CASCADE; " + always.format("users", "id"), "column users.id", "GENERATED ALWAYS AS IDENTITY"),
            (always.format("groups", "batch_failed_calls"), "column groups.batch_failed_calls", "GENERATED ALWAYS AS IDENTITY"),
            (always.format("uploaded_files", "file_size"), "column uploaded_files.file_size", "GENERATED ALWAYS AS IDENTITY"),
            ("ALTER TABLE clients DROP review; ALTER TABLE clients ADD review text GENERATED ALWAYS AS (upper(name)) STORED",
             "column clients.review", "takes no value"),
            ("ALTER TABLE groups DROP favorite; ALTER TABLE groups ADD favorite boolean GENERATED ALWAYS AS (is_active) STORED",
             "column groups.favorite", "takes no value"),
        ],
    )  # fmt: skip
    assert connection.execute("INSERT INTO groups (name) VALUES ('x') RETURNING favorite").fetchone() == (False,)


@pytest.mark.postgres(">= 18")
def test_a_virtual_column_takes_a_decision(connection):
    connection.execute("ALTER TABLE clients DROP review, ADD review text GENERATED ALWAYS AS (upper(name)) VIRTUAL")
    script = repair_script(verify_database(connection).differences)
    assert "-- A virtual column has no values of its own." in script
    run_script(connection, script)
    assert [item.object for item in problems(connection)] == ["column clients.review"]
    proposed = [
        line.removeprefix("-- ")
        for line in script.splitlines()
        if line.startswith("-- ") and "review" in line and line.endswith(";")
    ]
    run_script(connection, "\n".join(proposed))
    assert problems(connection) == []


def test_sequences_that_end_soon_are_found_and_repaired(connection):
    """A serial column's sequence goes up by one to the column's last value, and stops there."""
    connection.execute("INSERT INTO clients (name) VALUES ('a'), ('b'), ('c')")
    repair_each(
        connection,
        [
            ("ALTER SEQUENCE users_id_seq AS smallint", "column users.id", "ends at 32767"),
            ("ALTER SEQUENCE clients_id_seq MAXVALUE 100", "column clients.id", "ends at 100"),
            ("ALTER SEQUENCE clients_id_seq CYCLE", "column clients.id", "begins again at its end (CYCLE)"),
            ("ALTER SEQUENCE clients_id_seq INCREMENT -1", "column clients.id", "counts backwards"),
            ("ALTER SEQUENCE clients_id_seq INCREMENT -1 MINVALUE -10 MAXVALUE 3 START 3 RESTART -2 CYCLE", "column clients.id",
             "counts backwards and ends at 3 and begins again"),
            ("ALTER SEQUENCE clients_id_seq INCREMENT 1000000", "column clients.id", "leaves out ids (INCREMENT 1000000)"),
            ("ALTER SEQUENCE groups_id_seq OWNED BY NONE; ALTER SEQUENCE groups_id_seq AS smallint CYCLE", "column groups.id", "ends at 32767"),
            ("DROP SEQUENCE batch_calls_id_seq CASCADE; ALTER TABLE batch_calls ALTER id ADD GENERATED BY DEFAULT AS IDENTITY "
             "(MAXVALUE 1000)", "column batch_calls.id", "ends at 1000"),
        ],
    )  # fmt: skip
    assert connection.execute("INSERT INTO clients (name) VALUES ('d') RETURNING id > 3").fetchone() == (True,)


def test_ids_that_are_taken_ahead_are_found_and_passed(connection):
    connection.execute("INSERT INTO clients (id, name) VALUES (1, 'a'), (2, 'b')")
    assert told(connection) == [
        ("problem", "column clients.id", "has taken ids ahead: clients_id_seq gives 1 next, and 1 is taken; the next insert fails")
    ]  # fmt: skip
    connection.execute("INSERT INTO clients (id, name) VALUES (2147483647, 'anonymous')")
    run_script(connection, repair_script(verify_database(connection).differences))
    assert told(connection) == [
        ("note", "column clients.id", "has a high id of its own, 2147483647; clients_id_seq gives 3 next")
    ]
    assert connection.execute("INSERT INTO clients (name) VALUES ('c') RETURNING id").fetchone() == (3,)
    connection.execute("INSERT INTO groups (id, name) VALUES (1000000000, 'reserved')")
    assert [verdict for verdict, _, _ in told(connection)] == ["note", "note"]
    connection.execute("DELETE FROM groups; DELETE FROM clients; SELECT setval('groups_id_seq', 2147483647)")
    connection.execute("SELECT setval('clients_id_seq', 2100000000)")
    assert [(verdict, words[:20]) for verdict, _, words in told(connection)] == [
        ("problem", "has no next id: grou"), ("warning", "has 47483647 ids lef")
    ]  # fmt: skip
    run_script(connection, repair_script(verify_database(connection).differences))
    assert [verdict for verdict, _, _ in told(connection)] == ["problem", "warning"]


def test_a_key_whose_triggers_are_disabled_is_not_enforced(server, database):
    with server.connect(database) as superuser:
        superuser.execute("SET search_path = public, pg_temp")
        repair_each(
            superuser,
            [("ALTER TABLE public.call_records DISABLE TRIGGER ALL", "foreign key call_records_client_id_fkey", "not enforced"),
             ("ALTER TABLE public.clients DISABLE TRIGGER ALL", "foreign key client_groups_client_id_fkey", "not enforced")],
        )  # fmt: skip


@pytest.mark.postgres(">= 18")
def test_a_not_null_that_is_not_valid_is_found(connection):
    repair_each(
        connection,
        [("ALTER TABLE clients ALTER name DROP NOT NULL; ALTER TABLE clients ADD CONSTRAINT n NOT NULL name NOT VALID",
          "column clients.name", "has a NOT NULL that is NOT VALID")],
    )  # fmt: skip


def test_what_does_the_same_or_more_is_only_noted(connection):
    connection.execute(
        "ALTER TABLE users REPLICA IDENTITY FULL; ALTER TABLE clients FORCE ROW LEVEL SECURITY;"
        "CREATE TABLE copies () INHERITS (groups); DROP INDEX idx_clients_phone; CREATE INDEX phones ON clients (phone)"
    )
    found = told(connection)
    assert ("note", "table users", "has the replica identity FULL") in found
    assert ("note", "index idx_clients_phone", "is named phones here") in found
    assert ("warning", "forced row security clients", "has row security forced on its owner") in found
    assert any(item[:2] == ("warning", "table groups") and "is inherited by" in item[2] for item in found)
    assert not [item for item in found if item[0] == "problem"]


DIFFERENT = [
    ("ALTER TABLE users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check CHECK ({})", "check users_role_check",
     ["role = 'admin' OR role = 'user'", "role IN ('user', 'agent', 'admin', 'moderator')", "role NOT IN ('user', 'agent', 'admin')",
      "role IS NOT NULL AND role IN ('user', 'agent', 'admin')", "role::char(4) IN ('user', 'agent', 'admin')",
      "lower(role) IN ('user', 'agent', 'admin')", "role IN ('user', 'agent', 'admin') OR username = 'x'", "true",
      "NOT (role = ANY (ARRAY['user', 'agent', 'admin']))"]),
    ("ALTER TABLE users ALTER created_at SET DEFAULT {}", "column users.created_at",
     ["now() AT TIME ZONE 'UTC'", "CURRENT_TIMESTAMP(0)", "clock_timestamp()", "CURRENT_DATE", "'2026-01-01'", "NULL"]),
    ("ALTER TABLE users ALTER role SET DEFAULT {}", "column users.role", ["'User'", "'user '", "'user' || ''", "'use'::char(3)"]),
]  # fmt: skip


def test_what_means_something_else_is_a_problem(connection):
    connection.execute("DELETE FROM users")
    for statement, what, texts in DIFFERENT:
        for text in texts:
            connection.execute(statement.format(text))
            assert what in [item.object for item in problems(connection)], text
            run_script(connection, repair_script(verify_database(connection).differences))
            assert problems(connection) == [], text


def test_no_code_of_the_owner_is_run_to_compare(server, database, iacalls, use):
    """A superuser's verify evaluates nothing that is not made of literals."""
    with server.connect(database, OWNER) as owner:
        owner.execute(
            "CREATE FUNCTION public.spy(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS"
            " 'BEGIN IF current_user <> ''iacalls_owner'' THEN RAISE EXCEPTION ''run as %'', current_user; END IF; RETURN true; END';"
            " ALTER TABLE public.users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check CHECK (public.spy(role));"
            " ALTER TABLE public.users ALTER is_active SET DEFAULT public.spy('x');"
            " ALTER TABLE public.clients DROP CONSTRAINT clients_pkey CASCADE"
        )  # fmt: skip
    use(database, "")
    outcome = iacalls("db", "verify", "-o", "json")
    assert outcome.code == 4
    assert "run as " not in outcome.err
    assert {"check users_role_check", "column users.is_active"} <= {item["object"] for item in outcome.json["findings"]}


@pytest.mark.parametrize(
    "text",
    ["CHECK (query_to_xml('SELECT 1', true, true, '') IS NULL OR role IS NULL)", "CHECK (role OPERATOR(public.=) 'a')",
     "CHECK (role = 'a' OR id = 1)", "CHECK (role ~ 'a')", "CHECK (role = E'a')", "CHECK (role::mytype = 'a')", "CHECK (f (role))",
     "CHECK ((role)::character varying(3) = 'a')", "CHECK (role = $$a$$)", "CHECK (role = (SELECT 'a'))", 'CHECK ("f"(role))'],
)  # fmt: skip
def test_only_literals_and_keywords_are_evaluated(text):
    assert column_of(text) == ""
    assert not is_plain(text)


def test_a_unique_index_in_a_constraints_place(connection):
    """Of the same name it is the same; else it becomes the constraint, or makes way for it."""
    drop = "ALTER TABLE users DROP CONSTRAINT users_username_key; "
    connection.execute(drop + "CREATE UNIQUE INDEX users_username_key ON users (username)")
    assert told(connection) == []
    connection.execute("ALTER INDEX users_username_key RENAME TO users_username_unique")
    script = repair_script(verify_database(connection).differences)
    assert "ADD CONSTRAINT users_username_key UNIQUE USING INDEX users_username_unique;" in script
    run_script(connection, script)
    assert told(connection) == []
    for index in ("UNIQUE INDEX users_username_key ON users (username) WHERE is_active", "INDEX users_username_key ON users (email)",
                  "UNIQUE INDEX users_username_key ON clients (id)"):  # fmt: skip
        connection.execute(drop + f"CREATE {index}")
        run_script(connection, repair_script(verify_database(connection).differences))
        assert [(verdict, object_) for verdict, object_, _ in told(connection)] == [
            ("note", "index users_username_key_old")
        ]
        connection.execute("DROP INDEX users_username_key_old")
    connection.execute(
        "ALTER TABLE client_groups DROP CONSTRAINT client_groups_pkey; CREATE UNIQUE INDEX pk ON client_groups (id)"
    )
    run_script(connection, repair_script(verify_database(connection).differences))
    assert told(connection) == []


def test_names_that_others_have_are_freed_or_told(connection):
    connection.execute(
        "DROP INDEX idx_clients_phone; CREATE INDEX idx_clients_phone ON groups (prompt);"
        "ALTER TABLE users DROP CONSTRAINT users_role_check, ADD CONSTRAINT users_role_check UNIQUE (id, email);"
        "DROP INDEX idx_groups_name; CREATE TABLE idx_groups_name (id integer)"
    )
    script = repair_script(verify_database(connection).differences)
    run_script(connection, script)
    assert [item.object for item in problems(connection)] == ["index idx_groups_name"]
    assert "-- First, a table has that name. Then:" in script


def test_what_depends_on_a_column_leaves_its_type_as_a_comment(connection):
    connection.execute("ALTER TABLE gcp_documents ALTER document_type TYPE text; CREATE VIEW mine AS SELECT document_type FROM gcp_documents;"
                       "DROP INDEX idx_clients_phone")  # fmt: skip
    script = repair_script(verify_database(connection).differences)
    assert "-- First, it is used by view mine. Then:" in script
    run_script(connection, script)
    assert [item.object for item in problems(connection)] == ["column gcp_documents.document_type"]


def test_keys_that_forbid_a_new_type_are_dropped_and_made_again(connection):
    connection.execute(
        "ALTER TABLE groups DROP CONSTRAINT groups_created_by_fkey; ALTER TABLE users ADD code text UNIQUE;"
        "ALTER TABLE groups ALTER created_by TYPE text, ADD CONSTRAINT groups_created_by_fkey FOREIGN KEY (created_by) REFERENCES users (code)"
    )
    connection.execute(
        "UPDATE users SET code = id; INSERT INTO groups (name, created_by) SELECT 'g', code FROM users LIMIT 1"
    )
    run_script(connection, repair_script(verify_database(connection).differences))
    assert problems(connection) == []


def test_a_backup_of_an_earlier_format_lacks_no_attribute(tmp_path):
    """Of format 1 nothing is concluded from a row that is not there."""
    write_catalog(tmp_path, expected_catalog())
    assert load_catalog(tmp_path) == (expected_catalog(), ("disabled key",))
    path = tmp_path / "catalogue.json"
    path.write_text(json.dumps([row for row in json.loads(path.read_text()) if row != list(FORMAT)]))
    known, uncompared = load_catalog(tmp_path)
    assert uncompared == LATER_KINDS
    assert ObjectKey("format", "", "") not in known
