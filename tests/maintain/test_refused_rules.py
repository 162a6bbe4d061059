"""A rule that cannot be carried out is named, the others are, and the exit code is 1."""

import pytest

from tests.support.cleanups import by_name, rows_of
from tests.support.servers import OWNER, READER, SUPERUSER

RULE = """[maintain.rules.{0}]
table = "{0}"
age_column = "created_at"
age = "30d"
"""


@pytest.fixture
def superuser(server, database):
    with server.connect(database, SUPERUSER) as connection:
        yield connection


@pytest.fixture
def owner(server, database, use, configure):
    """A session of the owner on a database with two rules, which is the target of the commands."""
    use(database)
    configure(RULE.format("bad") + RULE.format("orders"))
    with server.connect(database, OWNER) as connection:
        connection.execute(
            "CREATE TABLE bad (msg text, created_at timestamp); CREATE TABLE orders (id int PRIMARY KEY, created_at timestamp);"
            "INSERT INTO bad VALUES ('x', '2020-01-01'); INSERT INTO orders VALUES (1, '2020-01-01'), (2, now())"
        )
        yield connection


@pytest.mark.parametrize(
    "publication",
    [
        "CREATE PUBLICATION p FOR TABLE bad",
        "CREATE PUBLICATION p FOR ALL TABLES",
        "CREATE PUBLICATION p FOR TABLE bad WITH (publish = 'insert, delete')",
        pytest.param("CREATE PUBLICATION p FOR TABLES IN SCHEMA public", marks=pytest.mark.postgres(">= 15")),
        pytest.param(
            "ALTER TABLE bad REPLICA IDENTITY FULL; ALTER TABLE bad ADD id int PRIMARY KEY DEFAULT 1;"
            "ALTER TABLE bad REPLICA IDENTITY DEFAULT; CREATE PUBLICATION p FOR TABLE bad WHERE (msg = 'x')",
            marks=pytest.mark.postgres(">= 15"),
        ),
        "ALTER TABLE bad ADD id int PRIMARY KEY DEFAULT 1; ALTER TABLE bad REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE bad",
    ],
)
def test_a_published_table_without_replica_identity(owner, superuser, cleanup, publication):
    superuser.execute(publication)
    plan = cleanup("--dry-run")
    assert plan.code == 1
    assert [row["rule"] for row in plan.json["data"]] == ["whatsapp", "failed-calls", "orders"]
    assert [row["rule"] for row in plan.json["problems"]] == ["bad"]
    assert 'rule bad: cannot delete from table "bad"' in plan.error
    assert "ALTER TABLE public.bad REPLICA IDENTITY FULL" in plan.error
    assert "plan: bad is left out: cannot delete" in plan.err
    assert len(rows_of(owner, "orders")) == 2
    done = cleanup()
    assert done.code == 1
    assert 'rule bad: cannot delete from table "bad"' in done.error
    assert by_name(done.json["data"])["orders"]["deleted"] == 1
    assert (len(rows_of(owner, "orders")), len(rows_of(owner, "bad"))) == (1, 1)
    superuser.execute("ALTER TABLE bad REPLICA IDENTITY FULL")
    assert cleanup().code == 0
    assert rows_of(owner, "bad") == []


@pytest.mark.parametrize(
    "publication",
    ["CREATE PUBLICATION p FOR TABLE bad WITH (publish = 'insert')", "CREATE PUBLICATION p FOR TABLE orders"],
)
def test_publications_that_do_not_matter(owner, superuser, cleanup, publication):
    superuser.execute(publication)
    assert cleanup("--dry-run").code == 0
    assert cleanup().code == 0
    assert rows_of(owner, "bad") == []


def test_a_child_that_publishes_its_updates(owner, superuser, cleanup):
    """It loses its reference with ON DELETE SET NULL, which the server would refuse."""
    owner.execute("CREATE TABLE child (o int REFERENCES orders ON DELETE SET NULL); INSERT INTO child VALUES (1)")
    superuser.execute("CREATE PUBLICATION p FOR TABLE child WITH (publish = 'update')")
    outcome = cleanup()
    assert outcome.code == 1
    assert 'rule orders: cannot update table "child"' in outcome.error
    assert (len(rows_of(owner, "orders")), rows_of(owner, "bad")) == (2, [])


def test_a_partition_that_is_published(owner, superuser, cleanup, configure):
    configure(RULE.format("p"))
    owner.execute(
        "CREATE TABLE p (created_at timestamp) PARTITION BY RANGE (created_at); CREATE TABLE p1 PARTITION OF p DEFAULT;"
        "INSERT INTO p VALUES ('2020-01-01')"
    )
    superuser.execute("CREATE PUBLICATION pub FOR TABLE p WITH (publish_via_partition_root = true)")
    outcome = cleanup("--only", "p")
    assert outcome.code == 1
    assert 'cannot delete from table "p1"' in outcome.error
    assert "ALTER TABLE public.p1 REPLICA IDENTITY FULL" in outcome.error


def test_a_trigger_that_fails_stops_its_own_rule_only(owner, cleanup, undo):
    owner.execute(
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not this one'; END$$;"
        "CREATE TRIGGER no BEFORE DELETE ON bad FOR EACH ROW EXECUTE FUNCTION no()"
    )
    assert cleanup("--dry-run").code == 0
    done = cleanup()
    assert done.code == 1
    assert "rule bad: not this one" in done.error
    assert done.json["run"]["state"] == "failed"
    assert done.json["problems"] == [{"rule": "bad", "problem": "not this one"}]
    assert by_name(done.json["data"])["orders"]["deleted"] == 1
    assert [one["table"] for one in done.json["vacuum"]] == ["orders"]
    assert (len(rows_of(owner, "orders")), len(rows_of(owner, "bad"))) == (1, 1)
    assert undo("newest").code == 0
    assert len(rows_of(owner, "orders")) == 2


def test_a_right_that_is_taken_away_meanwhile(owner, database, superuser, use, cleanup, monkeypatch):
    from iacalls_cli.commands.maintain import cleanup as command

    superuser.execute(f"GRANT SELECT, UPDATE, DELETE ON bad, orders TO {READER}")
    use(database, READER)
    real = command.run_alone

    def late(*arguments):
        superuser.execute(f"REVOKE DELETE ON bad FROM {READER}")
        return real(*arguments)

    monkeypatch.setattr(command, "run_alone", late)
    done = cleanup("--only", "bad", "--only", "orders")
    assert done.code == 1
    assert "rule bad: permission denied for table bad" in done.error
    assert len(rows_of(owner, "orders")) == 1


def test_a_right_on_the_batches_that_protect_calls(owner, database, superuser, use, cleanup):
    superuser.execute(
        f"GRANT SELECT, UPDATE, DELETE ON call_records, orders TO {READER}; REVOKE ALL ON batch_calls FROM {READER}"
    )
    use(database, READER)
    outcome = cleanup("--only", "failed-calls", "--only", "orders")
    assert outcome.code == 1
    assert "rule failed-calls: permission denied for table batch_calls" in outcome.error
    assert len(rows_of(owner, "orders")) == 1


def test_a_table_that_is_locked_while_the_plan_is_made(server, database, owner, cleanup):
    """A lock that lets others read keeps nobody from planning; the cleanup itself waits for it."""
    with server.connect(database, OWNER) as other:
        other.autocommit = False
        other.execute("LOCK TABLE orders IN SHARE MODE")
        plan = cleanup("--only", "orders", "--dry-run")
        other.rollback()
    assert (plan.code, plan.json["data"][0]["rows"]) == (0, 1)


def test_a_right_that_lacks_from_the_beginning(owner, database, superuser, use, cleanup):
    superuser.execute(f"GRANT SELECT, UPDATE, DELETE ON orders TO {READER}")
    use(database, READER)
    for options in (("--dry-run",), ()):
        outcome = cleanup("--only", "bad", "--only", "orders", *options)
        assert outcome.code == 1
        assert f"rule bad: the role {READER} lacks SELECT, DELETE, UPDATE on bad" in outcome.error
        assert "use the role that owns the tables" in outcome.error
    assert len(rows_of(owner, "orders")) == 1


def test_several_rules_that_fail_are_all_named(owner, superuser, cleanup):
    superuser.execute(
        "CREATE PUBLICATION p FOR TABLE bad; ALTER TABLE bad OWNER TO postgres; DROP TABLE call_records CASCADE"
    )
    outcome = cleanup()
    assert outcome.code == 1
    assert "2 rules could not be carried out: rule failed-calls: call_records does not exist" in outcome.error
    assert "; rule bad: the role" in outcome.error
    assert len(rows_of(owner, "orders")) == 1


def test_a_table_that_is_locked_for_long(server, database, owner, cleanup, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.maintain.cleanup.delete.PATIENCE_SECONDS", 0.3)
    from iacalls_cli.commands.maintain import cleanup as command

    real = command.run_alone
    with server.connect(database, OWNER) as other:
        other.autocommit = False

        def late(*arguments):
            other.execute("LOCK TABLE bad")
            return real(*arguments)

        monkeypatch.setattr(command, "run_alone", late)
        done = cleanup()
        other.rollback()
    assert done.code == 1
    assert "rule bad: bad is locked by session" in done.error
    assert len(rows_of(owner, "orders")) == 1


# Row security ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["cleanup", "undo"])
@pytest.mark.parametrize(
    ("role", "forced", "hint"),
    [
        (OWNER, True, "ALTER TABLE public.orders NO FORCE ROW LEVEL SECURITY, or use a role with BYPASSRLS"),
        (READER, True, "use a role with BYPASSRLS"),
        (READER, False, "use a role with BYPASSRLS, or the table's owner"),
    ],
)
def test_row_security_says_what_lets_a_role_see_all_rows(
    owner, database, superuser, use, cleanup, undo, command, role, forced, hint
):
    assert cleanup("--only", "orders").code == 0
    superuser.execute(f"GRANT ALL ON orders TO {READER}")
    owner.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON orders USING (false)")
    if forced:
        owner.execute("ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    use(database, role)
    outcome = cleanup("--only", "orders") if command == "cleanup" else undo("newest")
    assert outcome.code == 1
    assert "row security hides rows of orders from this role" in outcome.error
    assert outcome.error.endswith(f"Hint: {hint}")
    assert "pg_read_all_data" not in outcome.error


def test_that_hint_helps(owner, superuser, cleanup, undo):
    owner.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    assert cleanup("--only", "orders").code == 1
    owner.execute("ALTER TABLE orders NO FORCE ROW LEVEL SECURITY")
    assert cleanup("--only", "orders").json["data"][0]["deleted"] == 1
    assert undo("newest").code == 0
