"""What a cleanup takes along, what it changes and what it keeps: counted before, and again afterwards."""

import pytest

from tests.support.cleanups import archived, by_name, rows_of
from tests.support.servers import OWNER

OLD = "2020-03-01 10:00:00"
BATCHES = """
[maintain.rules.batches]
table = "batch_calls"
age_column = "created_at"
age = "90d"
"""


@pytest.fixture
def owner(server, database, use):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    with server.connect(database, OWNER) as connection:
        yield connection


@pytest.fixture
def clean(iacalls, tmp_path):
    """Run a cleanup, which has to succeed; returns its JSON."""

    def run(*options, code=0):
        outcome = iacalls("maintain", "cleanup", "--directory", str(tmp_path / "archivos"), "-o", "json", *options)
        assert outcome.code == code, outcome.err
        return outcome.json

    return run


def add_batch(owner, status, calls=0, created=OLD, call_status="completed"):
    (number,) = owner.execute(
        "INSERT INTO batch_calls (batch_id, status, created_at) VALUES (gen_random_uuid(), %s, %s) RETURNING id",
        [status, created],
    ).fetchone()
    for _ in range(calls):
        owner.execute(
            "INSERT INTO call_records (batch_call_id, phone_number, status, created_at) VALUES (%s, '1', %s, %s)",
            [number, call_status, OLD],
        )
    return number


def test_cascades_are_counted_in_plan_and_result(owner, clean, configure):
    configure(BATCHES)
    add_batch(owner, "completed", calls=5)
    add_batch(owner, "failed", calls=2)
    plan = clean("--only", "batches", "--dry-run")
    assert [(row["table"], row["rows"]) for row in plan["data"]] == [("batch_calls", 2)]
    assert plan["effects"] == [
        {"rule": "batches", "table": "call_records", "action": "delete", "rows": 7, "triggers": None, "foreign_key": "call_records_batch_call_id_fkey"}
    ]  # fmt: skip
    result = clean("--only", "batches")
    assert by_name(result["data"])["batches"]["deleted"] == 2
    assert by_name(result["data"])["batches"]["cascaded"] == 7
    assert {name[1]: len(rows) for name, rows in archived(result["run"]["archive"]).items()} == {
        "batch_calls": 2, "call_records": 7,
    }  # fmt: skip
    assert rows_of(owner, "batch_calls") == rows_of(owner, "call_records") == []


def add_client(owner, created=OLD, calls=0, groups=()):
    (number,) = owner.execute(
        "INSERT INTO clients (name, created_at) VALUES ('María', %s) RETURNING id", [created]
    ).fetchone()
    for _ in range(calls):
        owner.execute(
            "INSERT INTO call_records (client_id, phone_number, status, created_at, updated_at) VALUES (%s, '1', 'ended', %s, %s)",
            [number, OLD, OLD],
        )
    for group in groups:
        owner.execute("INSERT INTO client_groups (client_id, group_id) VALUES (%s, %s)", [number, group])
    return number


CLIENTS = """
[maintain.rules.clients]
table = "clients"
age_column = "created_at"
age = "90d"
"""


def test_lost_references_are_counted_with_the_triggers_they_fire(owner, clean, configure, iacalls, tmp_path):
    configure(CLIENTS)
    add_client(owner, calls=3)
    (group,) = owner.execute("INSERT INTO groups (name) VALUES ('g') RETURNING id").fetchone()
    add_client(owner, calls=1, groups=[group])
    add_client(owner, created="now", calls=1)
    calls = rows_of(owner, "call_records")
    plan = clean("--only", "clients", "--dry-run")
    assert [(e["table"], e["action"], e["rows"], e["triggers"]) for e in plan["effects"]] == [
        ("client_groups", "delete", 1, None),
        ("call_records", "set null", 4, "update_call_records_updated_at"),
    ]
    result = clean("--only", "clients")
    assert [(r["deleted"], r["cascaded"], r["nulled"]) for r in result["data"]] == [(2, 1, 4)]
    assert {one["table"] for one in result["vacuum"]} == {"clients", "client_groups", "call_records"}
    today = "SELECT count(*) FROM call_records WHERE client_id IS NULL AND updated_at > now() at time zone 'UTC' - interval '1h'"
    assert owner.execute(today).fetchone() == (4,)
    # What lost its reference is as old as before: the next cleanup of calls finds it.
    kept = archived(result["run"]["archive"], "changed")["public", "call_records"]
    assert {row["updated_at"] for row in kept} == {OLD}
    undone = iacalls("maintain", "undo", "newest", "--directory", str(tmp_path / "archivos"))
    assert undone.code == 0, undone.err
    assert rows_of(owner, "call_records") == calls


def test_rows_are_never_old_by_updated_at(owner, iacalls, configure):
    configure(CLIENTS.replace("created_at", "updated_at"))
    outcome = iacalls("maintain", "cleanup", "--dry-run")
    assert outcome.code == 2
    assert "rule clients: updated_at says when a row was last written" in outcome.error


@pytest.mark.parametrize("status", ["pending", "in_progress", None])
def test_running_batches_and_their_calls_stay(owner, clean, configure, status):
    configure(BATCHES)
    running = add_batch(owner, status, calls=2, call_status="failed")
    add_batch(owner, "completed", calls=3, call_status="failed")
    plan = clean("--dry-run")
    rules = by_name(plan["data"])
    assert (rules["failed-calls"]["rows"], rules["failed-calls"]["kept"]) == (3, 2)
    assert (rules["batches"]["rows"], rules["batches"]["kept"]) == (1, 1)
    assert plan["kept"] == [
        {"rule": "failed-calls", "reason": "calls of running batches", "rows": 2},
        {"rule": "batches", "reason": "running batches", "rows": 1},
    ]
    # The failed calls of the other batch go with the first rule, and are not counted again.
    assert plan["effects"] == []
    clean()
    assert owner.execute("SELECT id FROM batch_calls").fetchall() == [(running,)]
    assert owner.execute("SELECT batch_call_id FROM call_records").fetchall() == [(running,)] * 2


@pytest.mark.parametrize(
    ("status", "stays"), [("in_progress", True), ("pending", True), ("none", False), ("failed", False), (None, False)]
)
def test_campaigns_stay_while_their_batch_runs(owner, clean, configure, status, stays):
    configure(CLIENTS.replace("clients", "groups"))
    owner.execute("INSERT INTO groups (name, batch_status, created_at) VALUES ('g', %s, %s)", [status, OLD])
    plan = clean("--only", "groups", "--dry-run")
    assert plan["data"][0]["rows"] == (not stays)
    assert [row["reason"] for row in plan["kept"]] == ["campaigns with a running batch"] * stays
    clean("--only", "groups")
    assert len(rows_of(owner, "groups")) == stays


def test_a_state_that_is_not_known_counts_as_running(owner, clean, configure):
    configure(BATCHES)
    owner.execute("ALTER TABLE batch_calls DROP CONSTRAINT batch_calls_status_check")
    add_batch(owner, "paused")
    assert clean("--only", "batches", "--dry-run")["data"][0]["kept"] == 1


CHAIN = """
CREATE TABLE a (id int PRIMARY KEY, created_at timestamptz);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b ON DELETE CASCADE);
CREATE TABLE d (id int PRIMARY KEY, c int REFERENCES c ON DELETE SET NULL);
INSERT INTO a SELECT n, '2020-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 10) AS n;
INSERT INTO b SELECT n, n % 10 + 1 FROM generate_series(1, 50) AS n;
INSERT INTO c SELECT n, n % 50 + 1 FROM generate_series(1, 200) AS n;
INSERT INTO d SELECT n, n % 200 + 1 FROM generate_series(1, 300) AS n;
"""
RULE_A = "[maintain.rules.a]\ntable = 'a'\nage_column = 'created_at'\nage = '90d'\n"


def test_a_chain_of_cascades(owner, clean, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    plan = clean("--only", "a", "--dry-run")
    assert [(e["table"], e["action"], e["rows"]) for e in plan["effects"]] == [
        ("b", "delete", 50), ("c", "delete", 200), ("d", "set null", 300),
    ]  # fmt: skip
    assert (plan["data"][0]["oldest"], plan["data"][0]["newest"]) == (
        "2020-01-02 00:00:00+00",
        "2020-01-11 00:00:00+00",
    )
    result = clean("--only", "a")["data"][0]
    assert (result["deleted"], result["cascaded"], result["nulled"]) == (10, 250, 300)


def test_a_large_table_without_an_index_for_a_reference_is_told(owner, iacalls, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("INSERT INTO c SELECT n, NULL FROM generate_series(1000, 40000) AS n; ANALYZE c")
    command = ["maintain", "cleanup", "--only", "a", "--dry-run"]
    words = "plan: a: c has no index on b: each row that goes reads all of it"
    assert words in iacalls(*command).err
    owner.execute("CREATE INDEX ON c (b)")
    assert words not in iacalls(*command).err


@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"])
def test_rows_that_something_refers_to_stay_with_the_reason(owner, clean, configure, action):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("CREATE SCHEMA otro")
    on_delete, _, deferred = action.partition(" DEFERRABLE")
    owner.execute(
        f"CREATE TABLE otro.e (b int REFERENCES public.b ON DELETE {on_delete} {'DEFERRABLE' if deferred else ''}{deferred})"
    )
    owner.execute("INSERT INTO otro.e VALUES (9), (9), (NULL)")  # below row 10 of a
    plan = clean("--only", "a", "--dry-run")
    assert plan["kept"] == [{"rule": "a", "reason": "still referred to by otro.e", "rows": 1}]
    assert plan["data"][0]["rows"] == 9
    assert clean("--only", "a")["data"][0]["deleted"] == 9
    assert owner.execute("SELECT id FROM a").fetchall() == [(10,)]
    assert owner.execute("SELECT count(*) FROM b").fetchone() == (5,)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
def test_a_table_that_refers_to_itself(owner, clean, configure, action):
    configure(RULE_A)
    owner.execute(
        f"CREATE TABLE a (id int PRIMARY KEY, created_at timestamp, up int REFERENCES a ON DELETE {action});"
        "INSERT INTO a SELECT n, '2020-01-01', nullif(n - 1, 0) FROM generate_series(1, 30) AS n;"
        "UPDATE a SET up = 30 WHERE id = 1;"  # all in a circle
        "INSERT INTO a VALUES (40, '2020-01-01', 40), (41, '2020-01-01', 40), (42, now(), 41), (50, now(), NULL)"
    )
    plan, result = clean("--only", "a", "--dry-run"), clean("--only", "a")
    gone = {"CASCADE": (32, 1, 0), "SET NULL": (32, 0, 1)}[action]
    left = {"CASCADE": [50], "SET NULL": [42, 50]}[action]
    row, effects = plan["data"][0], plan["effects"]
    assert (row["rows"], row["kept"]) == (gone[0], 32 - gone[0])
    assert sum(e["rows"] for e in effects) == gone[1] + gone[2]
    row = result["data"][0]
    assert (row["deleted"], row["cascaded"], row["nulled"]) == gone
    assert [number for (number,) in owner.execute("SELECT id FROM a ORDER BY id")] == left


TREE = "CREATE TABLE a (id int PRIMARY KEY, created_at timestamp, up int CONSTRAINT up REFERENCES a ON DELETE {})"
PARTITIONED_TREE = f"{TREE} PARTITION BY RANGE (id); CREATE TABLE a1 PARTITION OF a DEFAULT"
# A row of c may go with another row of a than the row of b that it keeps.
DIAMOND = """
CREATE TABLE a (id int PRIMARY KEY, created_at timestamp);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);
CREATE TABLE c (a int REFERENCES a ON DELETE CASCADE, b int CONSTRAINT up REFERENCES b ON DELETE {})
"""


@pytest.mark.parametrize("action", ["NO ACTION", "RESTRICT", "NO ACTION DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize(
    ("tables", "child", "parent"), [(TREE, "a", "a"), (PARTITIONED_TREE, "a", "a"), (DIAMOND, "c", "b")]
)
def test_rules_whose_rows_keep_one_another_are_refused(owner, iacalls, configure, action, tables, child, parent):
    configure(RULE_A)
    owner.execute(tables.format(action))
    owner.execute("INSERT INTO a VALUES (1, '2020-01-01')")
    for options in (["--dry-run"], []):
        outcome = iacalls("maintain", "cleanup", "--only", "a", *options)
        assert outcome.code == 1
        assert f"the rule deletes rows of {child} and rows of {parent}, which the foreign key up keeps" in outcome.error
    assert owner.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_circles_of_cascades_are_refused(owner, iacalls, configure):
    configure(RULE_A)
    owner.execute(
        "CREATE TABLE a (id int PRIMARY KEY, created_at date, b int);"
        "CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE CASCADE);"
        "ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE CASCADE"
    )
    outcome = iacalls("maintain", "cleanup", "--only", "a", "--dry-run")
    assert outcome.code == 1
    assert "the foreign keys go round in a circle: a → b → a" in outcome.error.replace("b → a → b", "a → b → a")


def test_a_child_in_use_keeps_its_row_alone(server, database, owner, clean, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SELECT FROM c WHERE id = 8 FOR UPDATE")  # below row 9 of b, row 10 of a
        other.execute("SELECT FROM d WHERE id = 51 FOR UPDATE")  # refers to row 52 of c, row 3 of b, row 4 of a
        result = clean("--only", "a")["data"][0]
    assert (result["deleted"], result["skipped_locked"]) == (8, 2)
    assert owner.execute("SELECT id FROM a ORDER BY id").fetchall() == [(4,), (10,)]
    assert clean("--only", "a")["data"][0]["deleted"] == 2


def test_an_old_row_in_use_stays_with_all_that_hangs_on_it(server, database, owner, clean, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    with server.connect(database, OWNER) as other, other.transaction():
        # As the application does by inserting one that refers to it.
        other.execute("SELECT FROM a WHERE id = 3 FOR KEY SHARE")
        result = clean("--only", "a")["data"][0]
    assert (result["deleted"], result["skipped_locked"]) == (9, 1)
    assert owner.execute("SELECT count(*) FROM b").fetchone() == (5,)


def test_a_column_that_may_not_be_null_keeps_what_it_refers_to(owner, clean, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("CREATE TABLE e (a int NOT NULL REFERENCES a ON DELETE SET NULL); INSERT INTO e VALUES (5)")
    assert clean("--only", "a", "--dry-run")["kept"] == [{"rule": "a", "reason": "still referred to by e", "rows": 1}]
    assert clean("--only", "a")["data"][0]["deleted"] == 9


@pytest.mark.postgres(">= 15")
def test_only_some_columns_of_a_reference_are_lost(owner, clean, configure, iacalls, tmp_path):
    configure(RULE_A)
    owner.execute(
        "CREATE TABLE a (id int, x int, created_at date, PRIMARY KEY (id, x)); INSERT INTO a VALUES (1, 2, '2020-01-01');"
        "CREATE TABLE b (id int PRIMARY KEY, a int, x int NOT NULL, FOREIGN KEY (a, x) REFERENCES a ON DELETE SET NULL (a));"
        "INSERT INTO b VALUES (1, 1, 2), (2, NULL, 2)"
    )
    assert clean("--only", "a")["data"][0]["nulled"] == 1
    assert rows_of(owner, "b") == ["(1,,2)", "(2,,2)"]
    assert iacalls("maintain", "undo", "newest", "--directory", str(tmp_path / "archivos")).code == 0
    assert rows_of(owner, "b") == ["(1,1,2)", "(2,,2)"]


def test_what_two_rules_would_take_goes_with_the_first(owner, clean, configure):
    configure(RULE_A + RULE_A.replace("rules.a", "rules.b").replace("'a'", "'b'").replace("90d", "30d"))
    owner.execute(CHAIN)
    owner.execute("ALTER TABLE b ADD created_at timestamp; UPDATE b SET created_at = '2020-01-01' WHERE id <= 20")
    owner.execute("UPDATE a SET created_at = now() WHERE id > 5")
    plan, result = clean("--only", "a", "--only", "b", "--dry-run"), clean("--only", "a", "--only", "b")
    assert {name: row["rows"] for name, row in by_name(plan["data"]).items()} == {"a": 5, "b": 10}
    planned = {(e["rule"], e["table"]): e["rows"] for e in plan["effects"]}
    assert planned == {("a", "b"): 25, ("a", "c"): 100, ("a", "d"): 150, ("b", "c"): 40, ("b", "d"): 60}
    rules = by_name(result["data"])
    assert (rules["a"]["deleted"], rules["a"]["cascaded"], rules["a"]["nulled"]) == (5, 125, 150)
    assert (rules["b"]["deleted"], rules["b"]["cascaded"], rules["b"]["nulled"]) == (10, 40, 60)


KEEP = """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
          CREATE TRIGGER "se queda" BEFORE DELETE ON {} FOR EACH ROW EXECUTE FUNCTION keep()"""


@pytest.mark.parametrize("table", ["a", "c"])
def test_a_trigger_that_keeps_rows_is_told(owner, iacalls, configure, table, tmp_path):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute(KEEP.format(table))
    if table == "a":
        owner.execute("DROP TABLE b CASCADE")
    before = rows_of(owner, table)
    outcome = iacalls("maintain", "cleanup", "--only", "a", "--directory", str(tmp_path / "archivos"))
    assert outcome.code == 1
    assert "fires se queda" in outcome.err
    assert f"rows of {table} went: a trigger interferes" in outcome.error
    assert rows_of(owner, table) == before
    assert len(rows_of(owner, "a")) == 10


def test_rules_of_the_server_are_refused(owner, iacalls, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("CREATE RULE no AS ON DELETE TO c DO INSTEAD NOTHING")
    outcome = iacalls("maintain", "cleanup", "--only", "a", "--dry-run")
    assert outcome.code == 1
    assert "rule a: the rule no on c turns deletes into something else" in outcome.error


def test_row_security_of_what_goes_along_is_refused(server, database, owner, iacalls, configure):
    """A cascade deletes rows that the policy hides: they would be in no plan and no archive."""
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("ALTER TABLE c ENABLE ROW LEVEL SECURITY; ALTER TABLE c FORCE ROW LEVEL SECURITY")
    outcome = iacalls("maintain", "cleanup", "--only", "a", "--dry-run")
    assert outcome.code == 1
    assert "row security hides rows of c from this role" in outcome.error


def test_missing_rights_on_what_goes_along_are_told_first(server, database, owner, use, iacalls, configure):
    configure(RULE_A)
    owner.execute(CHAIN)
    owner.execute("GRANT SELECT, DELETE, UPDATE ON a, b TO iacalls_reader; GRANT SELECT, UPDATE ON d TO iacalls_reader")
    use(database, "iacalls_reader")
    outcome = iacalls("maintain", "cleanup", "--only", "a", "--dry-run")
    assert outcome.code == 1
    assert "lacks SELECT, DELETE, UPDATE on c" in outcome.error
    owner.execute("GRANT SELECT, DELETE, UPDATE ON c TO iacalls_reader")
    assert iacalls("maintain", "cleanup", "--only", "a").code == 0
    assert rows_of(owner, "a") == []


def test_children_by_inheritance_go_with_their_own_foreign_keys(owner, clean, configure):
    configure(RULE_A)
    owner.execute(
        "CREATE TABLE a (id int PRIMARY KEY, created_at date); CREATE TABLE z (other int);"
        "CREATE TABLE a2 (PRIMARY KEY (id)) INHERITS (z, a);"
        "CREATE TABLE b (a int REFERENCES a ON DELETE CASCADE, a2 int REFERENCES a2 ON DELETE CASCADE);"
        "INSERT INTO a VALUES (1, '2020-01-01'), (2, now()); INSERT INTO a2 VALUES (0, 1, '2020-01-01'), (0, 2, now());"
        "INSERT INTO b VALUES (1, 2), (2, 1), (2, 2), (1, NULL)"
    )
    plan, result = clean("--only", "a", "--dry-run"), clean("--only", "a")
    assert (plan["data"][0]["rows"], plan["effects"][0]["rows"]) == (2, 3)
    assert (result["data"][0]["deleted"], result["data"][0]["cascaded"]) == (2, 3)
    assert rows_of(owner, "b") == ["(2,2)"]
