"""Which batches and campaigns run: those in which something happened lately."""

import pytest

from iacalls_cli.config.file import load_config
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.maintain.vacuum_table import flush_counts
from tests.support.cleanups import by_name, rows_of
from tests.support.servers import OWNER

BATCHES = """[maintain.rules.batches]
table = "batch_calls"
age_column = "created_at"
age = "90d"
"""
GROUPS = BATCHES.replace("rules.batches", "rules.groups").replace("batch_calls", "groups")
OLD, LONG_AGO = "2020-03-01 10:00:00", "now() AT TIME ZONE 'UTC' - interval '8 days'"
RECENT = "now() AT TIME ZONE 'UTC' - interval '6 days'"


@pytest.fixture
def owner(server, database, use):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    with server.connect(database, OWNER) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def add_batch(owner, status="in_progress", **times):
    """A batch, with the times of it and of its one failed call as SQL; all others are of 2020."""
    values = {name: times.get(name, f"'{OLD}'") for name in ("created_at", "updated_at")}
    values |= {name: times.get(name, "NULL") for name in ("started_at", "completed_at")}
    (number,) = owner.execute(
        f"INSERT INTO batch_calls (batch_id, status, {', '.join(values)}) "
        f"VALUES (gen_random_uuid(), %s, {', '.join(values.values())}) RETURNING id",
        [status],
    ).fetchone()
    call = {
        name: times.get(f"call_{name}", "NULL") for name in ("call_started_at", "call_ended_at", "audio_uploaded_at")
    }
    owner.execute(
        f"INSERT INTO call_records (batch_call_id, phone_number, status, created_at, updated_at, {', '.join(call)}) "
        f"VALUES (%s, '1', 'failed', '{OLD}', {times.get('call_updated_at', repr(OLD))}, {', '.join(call.values())})",
        [number],
    )
    return number


@pytest.mark.parametrize("status", ["in_progress", "pending", "paused", None])
def test_a_batch_left_in_its_state_is_named_and_not_protected(owner, cleanup, status):
    owner.execute("ALTER TABLE batch_calls DROP CONSTRAINT batch_calls_status_check")
    number = add_batch(owner, status)
    (name,) = owner.execute("SELECT batch_id FROM batch_calls").fetchone()
    plan = cleanup("--dry-run")
    rules = by_name(plan.json["data"])
    assert (rules["failed-calls"]["rows"], rules["failed-calls"]["kept"], plan.json["kept"]) == (1, 0, [])
    state = status or "without a state"
    assert plan.json["stuck"] == [
        {"kind": "batch", "id": str(number), "name": name, "status": state, "since": "2020-03-01 10:00", "rows": 1}
    ]
    assert (
        f"plan: batch {number} ({name}) with 1 call is {state} and stuck since 2020-03-01 10:00: not protected"
        in plan.err
    )
    assert by_name(cleanup().json["data"])["failed-calls"]["deleted"] == 1
    assert len(rows_of(owner, "batch_calls")) == 1


@pytest.mark.parametrize(
    "column",
    ["created_at", "updated_at", "started_at", "completed_at", "call_updated_at", "call_call_started_at", "call_call_ended_at",
     "call_audio_uploaded_at"],
)  # fmt: skip
def test_a_batch_runs_while_something_happens_in_it(owner, cleanup, column):
    """In the batch itself or in one of its calls, six days ago and not eight."""
    owner.execute("ALTER TABLE call_records DISABLE TRIGGER USER")
    running, stuck = add_batch(owner, **{column: RECENT}), add_batch(owner, **{column: LONG_AGO})
    plan = cleanup("--dry-run").json
    assert [one["id"] for one in plan["stuck"]] == [str(stuck)]
    assert plan["kept"] == [{"rule": "failed-calls", "reason": "calls of running batches", "rows": 1}]
    cleanup()
    assert owner.execute("SELECT batch_call_id FROM call_records").fetchall() == [(running,)]


def test_batches_that_ended_are_not_stuck(owner, cleanup, configure):
    configure(BATCHES)
    for status in ("completed", "failed", "cancelled"):
        add_batch(owner, status)
    stuck = add_batch(owner)
    plan = cleanup("--only", "batches", "--dry-run").json
    assert ([one["id"] for one in plan["stuck"]], plan["data"][0]["rows"], plan["data"][0]["kept"]) == (
        [str(stuck)],
        4,
        0,
    )
    assert cleanup("--only", "batches").json["data"][0]["deleted"] == 4


def test_how_long_is_set_in_the_config_file(owner, cleanup, configure):
    add_batch(owner, updated_at=LONG_AGO)
    assert len(cleanup("--dry-run").json["stuck"]) == 1
    configure("[maintain]\nrunning_within = '9d'\n")
    assert cleanup("--dry-run").json["stuck"] == []
    configure("[maintain]\nrunning_within = '1h'\n")
    assert len(cleanup("--dry-run").json["stuck"]) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'0d'", "maintain.running_within cannot be 0d"),
        ("'soon'", "maintain.running_within is not a duration: soon"),
        ("7", "'maintain.running_within' is not a text"),
        ("''", "'maintain.running_within' is not a text"),
    ],
)
def test_wrong_values_of_the_key(owner, cleanup, configure, value, message):
    configure(f"[maintain]\nrunning_within = {value}\n")
    outcome = cleanup("--dry-run")
    assert outcome.code == 2
    assert message in outcome.error


def test_the_key_is_not_read_from_the_current_folder(tmp_path):
    (tmp_path / "iacalls.toml").write_text("[maintain]\nrunning_within = '1h'\n")
    with pytest.raises(UsageError):
        load_config()


def test_times_without_zone_are_read_in_the_given_one(owner, cleanup):
    """Seven days ago but for three hours: in Bogota that is five hours later."""
    add_batch(owner, updated_at="now() AT TIME ZONE 'UTC' - interval '7 days 3 hours'")
    assert len(cleanup("--dry-run").json["stuck"]) == 1
    assert cleanup("--dry-run", "--tz", "America/Bogota").json["stuck"] == []


def test_campaigns_likewise(owner, cleanup, configure):
    configure(GROUPS)
    times = "created_at, updated_at, batch_started_at"
    for name, started in (
        ("old", f"'{OLD}'"),
        ("new", RECENT),
        ("with a batch", f"'{OLD}'"),
        ("with a dead batch", "NULL"),
    ):
        owner.execute(
            f"INSERT INTO groups (name, batch_status, {times}) VALUES (%s, 'in_progress', '{OLD}', '{OLD}', {started})",
            [name],
        )
    running, dead = add_batch(owner, updated_at=RECENT), add_batch(owner)
    owner.execute("ALTER TABLE batch_calls DISABLE TRIGGER USER")
    for batch, name in ((running, "with a batch"), (dead, "with a dead batch")):
        owner.execute(
            "UPDATE batch_calls SET group_id = (SELECT id FROM groups WHERE name = %s) WHERE id = %s", [name, batch]
        )
    plan = cleanup("--only", "groups", "--dry-run").json
    assert {(one["kind"], one["name"], one["rows"]) for one in plan["stuck"]} == {
        ("campaign", "old", None), ("campaign", "with a dead batch", None),
    }  # fmt: skip
    assert plan["kept"] == [{"rule": "groups", "reason": "campaigns with a running batch", "rows": 2}]
    cleanup("--only", "groups")
    assert owner.execute("SELECT name FROM groups ORDER BY 1").fetchall() == [("new",), ("with a batch",)]


def test_a_batch_that_comes_to_life_again_is_protected_at_once(owner, cleanup, monkeypatch):
    """What was stuck when the plan was made is looked at again in each transaction."""
    from iacalls_cli.commands.maintain import cleanup as command

    alive, dead = add_batch(owner), add_batch(owner)
    real = command.run_alone

    def late(*arguments):
        owner.execute("UPDATE batch_calls SET total_recipients = 1 WHERE id = %s", [alive])
        return real(*arguments)

    monkeypatch.setattr(command, "run_alone", late)
    assert len(cleanup("--dry-run").json["stuck"]) == 2
    assert by_name(cleanup().json["data"])["failed-calls"]["deleted"] == 1
    assert owner.execute("SELECT batch_call_id FROM call_records").fetchall() == [(alive,)]
    assert alive != dead


def test_many_stuck_batches_are_named_in_part(owner, cleanup):
    for _ in range(7):
        add_batch(owner)
    plan = cleanup("--dry-run")
    assert plan.err.count("and stuck since") == 5
    assert "plan: 2 more are stuck" in plan.err
    assert len(plan.json["stuck"]) == 7


def test_a_rule_of_another_table_looks_at_no_batch(owner, cleanup):
    add_batch(owner)
    owner.execute("REVOKE ALL ON batch_calls, call_records FROM CURRENT_USER")
    plan = cleanup("--only", "whatsapp", "--dry-run")
    assert (plan.code, plan.json["stuck"]) == (0, [])


LINEAGES = {
    "no times at all": (
        "CREATE TABLE batch_calls (id serial PRIMARY KEY, status varchar(20));"
        "CREATE TABLE call_records (id serial, batch_call_id int, status text, created_at timestamptz)",
        "INSERT INTO batch_calls (status) VALUES ('in_progress'), ('in_progress');"
        "INSERT INTO call_records (batch_call_id, status, created_at) VALUES (1, 'failed', '2020-01-01'), (1, 'ended', now()),"
        " (2, 'failed', '2020-01-01')",
    ),
    "with zones": (
        "CREATE TABLE batch_calls (id bigint PRIMARY KEY, batch_id text, status text, started_at timestamptz);"
        "CREATE TABLE call_records (id serial, batch_call_id int, status text, created_at timestamptz)",
        "INSERT INTO batch_calls VALUES (1, 'x', 'in_progress', now() - interval '6 days'),"
        " (2, 'y', 'in_progress', now() - interval '8 days'), (3, 'z', 'in_progress', NULL);"
        "INSERT INTO call_records (batch_call_id, status, created_at) VALUES (1, 'failed', '2020-01-01'), (2, 'failed', '2020-01-01')",
    ),
    "dates and an enum": (
        "CREATE TYPE state AS ENUM ('in_progress', 'completed');"
        "CREATE TABLE batch_calls (id uuid PRIMARY KEY, status state, created_at date);"
        "CREATE TABLE call_records (id serial, batch_call_id uuid, status text, created_at date)",
        "INSERT INTO batch_calls SELECT lpad(n::text, 32, '0')::uuid, 'in_progress', now() - d * interval '1 day'"
        " FROM (VALUES (1, 2), (2, 20)) AS v(n, d);"
        "INSERT INTO call_records (batch_call_id, status, created_at) SELECT id, 'failed', '2020-01-01' FROM batch_calls",
    ),
}


@pytest.mark.parametrize("lineage", LINEAGES)
def test_older_lineages_lack_columns(server, empty_database, use, cleanup, lineage):
    use(empty_database)
    with server.connect(empty_database, OWNER) as owner:
        for statements in LINEAGES[lineage]:
            owner.execute(statements)
        plan = cleanup("--only", "failed-calls", "--dry-run")
        assert plan.code == 0, plan.err
        assert [(row["rows"], row["kept"]) for row in plan.json["data"]] == [(1, 1)]
        assert len(plan.json["stuck"]) == 1
        assert cleanup("--only", "failed-calls").json["data"][0]["deleted"] == 1


def test_the_calls_of_a_batch_are_found_by_their_index(owner, cleanup):
    """One look by the index for all batches together; the index on updated_at that this would need stays out."""
    owner.execute(
        "INSERT INTO batch_calls (batch_id, status, created_at, updated_at) SELECT 'b' || n, 'completed', now(), now()"
        " FROM generate_series(1, 2000) AS n"
    )
    owner.execute(
        "INSERT INTO call_records (batch_call_id, phone_number, status) SELECT 1 + n % 2000, '1', 'ended'"
        " FROM generate_series(1, 40000) AS n"
    )
    owner.execute("ALTER TABLE batch_calls DISABLE TRIGGER USER; ALTER TABLE call_records DISABLE TRIGGER USER")
    owner.execute(
        f"UPDATE batch_calls SET status = 'in_progress', created_at = '{OLD}', updated_at = '{OLD}' WHERE id <= 5"
    )
    owner.execute(f"UPDATE call_records SET created_at = '{OLD}', updated_at = '{OLD}' WHERE batch_call_id <= 5")
    owner.execute("ANALYZE")
    statement = "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = 'call_records'"

    def count():
        flush_counts(owner)
        owner.execute("SELECT 1" if owner.info.server_version >= 150_000 else "SELECT pg_sleep(1.1)")
        return owner.execute(statement).fetchone()[0]

    before = count()
    plan = cleanup("--only", "failed-calls", "--dry-run").json
    assert [one["rows"] for one in plan["stuck"]] == [20] * 5
    after = count()
    assert after - before <= 40000 + 1  # the plan's own count, once
