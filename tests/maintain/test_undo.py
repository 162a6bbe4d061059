"""`iacalls maintain undo`: every row as it was, over nothing that is there, as often as it takes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from iacalls_cli.operations.maintain.undo import run as undoing
from tests.support import TESTS
from tests.support.backup_folders import wait_until
from tests.support.cleanups import everything
from tests.support.command_line import run_process
from tests.support.old_rows import check_sums
from tests.support.servers import OWNER, READER

OLD = "localtimestamp - interval '100 days'"
RULE = """[maintain.rules.r]
table = "{table}"
age_column = "{age}"
age = "90d"
"""
SEQUENCES = "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2"
TRIGGERS = "SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2"


@pytest.fixture
def clean(cleanup, configure, archive_folder):
    """Clean a table up by a rule of its own; returns the archive."""

    def run(table, age="created_at"):
        configure(RULE.format(table=table, age=age))
        outcome = cleanup("--only", "r")
        assert outcome.code == 0, outcome.err
        return Path(outcome.json["run"]["archive"])

    return run


def check_undo(undo, archive, connection, expected, code=0, **totals):
    """An undo tells what it does, and its dry run tells the same before and changes nothing."""
    before = everything(connection), connection.execute(SEQUENCES).fetchall(), connection.execute(TRIGGERS).fetchall()
    dry = undo(archive.name, "--dry-run")
    assert dry.code == 0, dry.err
    after = everything(connection), connection.execute(SEQUENCES).fetchall(), connection.execute(TRIGGERS).fetchall()
    assert after == before
    done = undo(archive.name)
    assert done.code == code, done.err
    assert dry.json["data"] == done.json["data"]
    assert dry.json["conflicts"] == done.json["conflicts"]
    if expected is not None:
        assert everything(connection) == expected
    assert connection.execute(SEQUENCES).fetchall() == before[1]
    assert connection.execute(TRIGGERS).fetchall() == before[2]
    for name, total in totals.items():
        assert sum(row[name] for row in done.json["data"]) == total, (name, done.json["data"])
    return done


def add_batches(connection):
    """A campaign with old batches, each with calls that go along, and messages nothing refers to."""
    connection.execute("INSERT INTO groups (id, name) VALUES (1, 'campaña'), (2, 'otra')")
    connection.execute(f"""INSERT INTO batch_calls (id, batch_id, group_id, status, metadata, created_at, updated_at)
        SELECT g, 'lote ' || g, 1 + g % 2, 'completed', '{{"á": 1.50}}', {OLD}, {OLD} FROM generate_series(1, 6) AS g""")
    connection.execute(f"""INSERT INTO call_records (batch_call_id, phone_number, status, created_at, updated_at)
        SELECT 1 + g % 6, '+57' || g, 'completed', {OLD}, {OLD} FROM generate_series(1, 60) AS g""")


def test_rows_return_with_ids_and_times_and_are_there_again(clean, undo, connection, archive_folder):
    add_batches(connection)
    before = everything(connection)
    archive = clean("batch_calls")
    assert connection.execute("SELECT count(*) FROM call_records").fetchone() == (0,)
    check_undo(undo, archive, connection, before, restored=66, present=0, conflicts=0)
    assert undo().json["data"][0]["state"] == "undone"
    check_undo(undo, archive, connection, before, restored=0, present=66, conflicts=0)
    assert check_sums(archive) == ""


def test_what_is_in_the_way_is_listed_and_stays(clean, undo, connection, iacalls, archive_folder):
    add_batches(connection)
    archive = clean("batch_calls")
    connection.execute("INSERT INTO batch_calls (id, batch_id) VALUES (1, 'otra cosa')")
    connection.execute("INSERT INTO batch_calls (id, batch_id) VALUES (100, 'lote 2')")
    connection.execute("DELETE FROM groups WHERE id = 2")  # of the batches 1, 3 and 5
    there = everything(connection)
    done = check_undo(undo, archive, connection, None, code=1, restored=32, present=0)
    told = {(row["table"], row["key"]): row["reason"] for row in done.json["conflicts"]}
    assert told["batch_calls", "1"].startswith("another row has this key")
    assert told["batch_calls", "2"] == "another row has the same batch_id"
    assert told["batch_calls", "3"] == told["batch_calls", "5"] == "its row of groups is gone"
    # The calls of the batch whose id another one has now are of that one: nothing else can be told.
    calls = [reason for (table, _), reason in told.items() if table == "call_records"]
    assert calls == ["its row of batch_calls is gone"] * 30
    assert "not put back: 34 rows; put back: 32" in done.error
    after = everything(connection)
    assert all(set(there[table]) <= set(after[table]) for table in there)
    assert not (archive / "undone.json").exists()
    # Solved, the rest comes back.
    connection.execute("DELETE FROM batch_calls WHERE id = 100")
    connection.execute("INSERT INTO groups (id, name) VALUES (2, 'otra')")
    again = undo(archive.name)
    assert again.code == 1
    assert [row["key"] for row in again.json["conflicts"]] == ["1"]
    text = iacalls("maintain", "undo", archive.name, "--directory", str(archive_folder))
    assert "another row has this key" in text.out


def test_a_row_changed_since_it_came_back_is_not_overwritten(clean, undo, connection):
    add_batches(connection)
    archive = clean("batch_calls")
    assert undo(archive.name).code == 0
    connection.execute("UPDATE batch_calls SET completed_calls = 99 WHERE id = 4")
    there = everything(connection)
    done = check_undo(undo, archive, connection, there, code=1, restored=0, present=65, conflicts=1)
    assert "or this one was changed since" in done.json["conflicts"][0]["reason"]


def add_clients(connection):
    """Old clients, called and assigned: calls lose their reference, assignments go."""
    connection.execute("INSERT INTO groups (id, name) VALUES (1, 'campaña')")
    connection.execute(
        f"INSERT INTO clients (id, name, created_at) SELECT g, 'Ñ' || g, {OLD} FROM generate_series(1, 20) AS g"
    )
    connection.execute("INSERT INTO clients (id, name) VALUES (100, 'nueva')")
    connection.execute("INSERT INTO client_groups (client_id, group_id) SELECT g, 1 FROM generate_series(1, 20) AS g")
    connection.execute(f"""INSERT INTO call_records (client_id, phone_number, created_at, updated_at)
        SELECT 1 + g % 25, '+57' || g, {OLD}, {OLD} FROM generate_series(1, 99) AS g WHERE g % 25 < 20""")


def test_lost_references_come_back_with_updated_at_as_it_was(clean, undo, connection):
    add_clients(connection)
    connection.execute("ALTER TABLE call_records ENABLE ALWAYS TRIGGER update_call_records_updated_at")
    before = everything(connection)
    archive = clean("clients")
    assert connection.execute(
        "SELECT count(*) FROM call_records WHERE client_id IS NULL AND updated_at > now() - interval '1 hour'"
    ).fetchone() == (79,)
    check_undo(undo, archive, connection, before, restored=20 + 20 + 79, present=0, conflicts=0)
    check_undo(undo, archive, connection, before, restored=0, present=119, conflicts=0)


def test_references_that_changed_since_are_left_as_they_are(clean, undo, connection):
    add_clients(connection)
    archive = clean("clients")
    first, second, third = [row[0] for row in connection.execute("SELECT id FROM call_records ORDER BY id LIMIT 3")]
    connection.execute("UPDATE call_records SET client_id = 100 WHERE id = %s", [first])
    connection.execute("UPDATE call_records SET transcript_summary = 'escrito después' WHERE id = %s", [second])
    written = connection.execute("SELECT updated_at FROM call_records WHERE id = %s", [second]).fetchone()
    connection.execute("DELETE FROM call_records WHERE id = %s", [third])
    done = check_undo(undo, archive, connection, None, code=1, restored=20 + 20 + 77, conflicts=2)
    assert {(row["key"], row["reason"]) for row in done.json["conflicts"]} == {
        (str(first), "it refers to something else now"), (str(third), "it is gone")}  # fmt: skip
    rows = dict(connection.execute("SELECT id, client_id FROM call_records").fetchall())
    assert rows[first] == 100
    assert rows[second] == second + 1 - 0 or rows[second] is not None
    # Somebody wrote to it since: when that was stays.
    found = connection.execute(
        "SELECT updated_at, transcript_summary FROM call_records WHERE id = %s", [second]
    ).fetchone()
    assert found == (*written, "escrito después")
    # The application takes a reference away: that was no cleanup.
    fourth = connection.execute(
        "UPDATE call_records SET client_id = NULL WHERE id = %s RETURNING id", [second]
    ).fetchone()
    connection.execute("UPDATE call_records SET batch_call_id = NULL")
    assert undo(archive.name).code == 1
    assert connection.execute("SELECT client_id IS NOT NULL FROM call_records WHERE id = %s", fourth).fetchone() == (
        True,
    )


def test_a_reference_the_application_removed_is_not_set_again(clean, undo, connection):
    connection.execute("INSERT INTO users (id, username, email, password) VALUES (50, 'a', 'a', '!')")
    connection.execute("INSERT INTO groups (id, name) VALUES (1, 'viva')")
    connection.execute(
        f"INSERT INTO users (id, username, email, password, created_at) VALUES (60, 'b', 'b', '!', {OLD})"
    )
    connection.execute(
        "INSERT INTO uploaded_files (id, original_name, file_name, uploaded_by, group_id) VALUES (1, 'x', 'x', 60, 1)"
    )
    archive = clean("users")
    connection.execute("UPDATE uploaded_files SET group_id = NULL")
    assert undo(archive.name).code == 0
    assert connection.execute("SELECT uploaded_by, group_id FROM uploaded_files").fetchone() == (60, None)


def test_triggers_are_enabled_again_after_a_failure(clean, undo, connection, server, database):
    add_clients(connection)
    archive = clean("clients")
    triggers = connection.execute(TRIGGERS).fetchall()
    connection.execute("ALTER TABLE call_records ADD CONSTRAINT no_clients CHECK (client_id IS NULL OR client_id < 3)")
    done = undo(archive.name)
    assert done.code == 1
    reasons = {row["reason"] for row in done.json["conflicts"]}
    assert reasons == {'new row for relation "call_records" violates check constraint "no_clients"'}
    assert connection.execute(TRIGGERS).fetchall() == triggers
    connection.execute("ALTER TABLE call_records DROP CONSTRAINT no_clients")
    assert undo(archive.name).code == 0


def test_a_locked_table_is_told_and_the_undo_goes_on_later(clean, undo, connection, server, database, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.maintain.locks.PAUSE_SECONDS", 0.05)
    add_clients(connection)
    before = everything(connection)
    archive = clean("clients")
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE public.call_records IN ROW EXCLUSIVE MODE")  # as a writer that takes its time
        done = undo(archive.name)
    assert done.code == 1
    assert "40 rows back;" in done.err
    assert undo(archive.name).code == 0
    assert everything(connection) == before


def test_only_an_owner_gives_references_back_others_try_nothing(clean, undo, connection, use, database, server):
    add_clients(connection)
    archive = clean("clients")
    gone = everything(connection)
    use(database, READER)
    outcome = undo(archive.name)
    assert (outcome.code, "lacks INSERT on" in outcome.error) == (1, True)
    connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {READER}")
    outcome = undo(archive.name)
    assert outcome.code == 1
    assert "only the owner of call_records can give its rows their references back" in outcome.error
    assert everything(connection) == gone
    # Deleted rows alone take no owner.
    add = "INSERT INTO public.whatsapp_conversations (phone_number, created_at) VALUES ('1', '2020-01-01')"
    connection.execute(add)
    use(database)
    archive = clean("whatsapp_conversations")
    use(database, READER)
    assert undo(archive.name).code == 0
    assert connection.execute("SELECT count(*) FROM whatsapp_conversations").fetchone() == (1,)


def test_row_security_and_rules_are_refused_before_anything(clean, undo, connection, use, database):
    add_batches(connection)
    archive = clean("batch_calls")
    connection.execute("ALTER TABLE call_records ENABLE ROW LEVEL SECURITY")
    connection.execute("ALTER TABLE call_records FORCE ROW LEVEL SECURITY")
    outcome = undo(archive.name)
    assert (outcome.code, "row security hides rows of call_records" in outcome.error) == (1, True)
    connection.execute("ALTER TABLE call_records DISABLE ROW LEVEL SECURITY")
    connection.execute("CREATE RULE keep AS ON INSERT TO call_records DO INSTEAD NOTHING")
    outcome = undo(archive.name)
    assert (outcome.code, "the rule keep on call_records" in outcome.error) == (1, True)
    assert connection.execute("SELECT count(*) FROM batch_calls").fetchone() == (0,)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("ALTER TABLE call_records DROP COLUMN audio_url", "call_records has no column audio_url any more"),
        ("ALTER TABLE call_records RENAME phone_number TO telefono", "call_records has no column phone_number any more"),
        ("DROP TABLE call_records CASCADE", "the table public.call_records does not exist any more"),
        ("ALTER TABLE call_records RENAME TO llamadas", "the table public.call_records does not exist any more"),
    ],
)  # fmt: skip
def test_a_table_or_column_that_is_gone_is_told_before_anything(clean, undo, connection, change, problem):
    add_batches(connection)
    archive = clean("batch_calls")
    connection.execute(change)
    for arguments in ((), ("--dry-run",)):
        outcome = undo(archive.name, *arguments)
        assert outcome.code == 1
        assert problem in outcome.error
    assert connection.execute("SELECT count(*) FROM batch_calls").fetchone() == (0,)


@pytest.fixture
def messages(connection):
    """Old messages; what of them no change below touches."""
    connection.execute(f"""INSERT INTO whatsapp_conversations (phone_number, message_sent, created_at)
        SELECT '+57' || g, '{{"a": [1, 2.50]}}', {OLD} FROM generate_series(8, 12) AS g""")
    read = "SELECT id, phone_number, message_sent::text, created_at, updated_at FROM whatsapp_conversations ORDER BY id"
    return lambda: connection.execute(read).fetchall()


@pytest.mark.parametrize(
    "change",
    [
        "ADD COLUMN nota text, ADD COLUMN nivel integer NOT NULL DEFAULT 7",
        "ALTER COLUMN id TYPE bigint, ALTER COLUMN phone_number TYPE text",
        "DROP COLUMN client_name, ADD COLUMN client_name text",
        "ALTER COLUMN message_sent DROP DEFAULT, ALTER COLUMN message_sent TYPE text",
    ],
)
def test_new_columns_and_types_that_keep_values_are_no_obstacle(clean, undo, connection, messages, change):
    before = messages()
    archive = clean("whatsapp_conversations")
    connection.execute(f"ALTER TABLE whatsapp_conversations {change}")
    check_undo(undo, archive, connection, None, restored=5)
    assert messages() == before


@pytest.mark.parametrize(
    ("change", "problem", "restored"),
    [
        ("ADD COLUMN nivel integer NOT NULL", "null value in column", 0),
        ("ALTER COLUMN phone_number TYPE varchar(4)", "value too long for type", 2),
        ("ADD CHECK (phone_number <> '+5710')", "violates check constraint", 4),
    ],
)
def test_rows_that_no_longer_fit_are_told_and_others_come_back(
    clean, undo, connection, messages, change, problem, restored
):
    archive = clean("whatsapp_conversations")
    connection.execute(f"ALTER TABLE whatsapp_conversations {change}")
    outcome = undo(archive.name)
    assert outcome.code == 1
    assert {problem in row["reason"] for row in outcome.json["conflicts"]} == {True}
    assert outcome.json["data"][0]["restored"] == restored == len(messages())
    # Of values nothing is told: they may be secrets.
    assert "+57" not in outcome.out + outcome.err


@pytest.mark.parametrize("change", ["created_at TYPE timestamptz", "message_sent TYPE json", "id TYPE text"])
def test_a_type_that_changes_the_values_is_refused(clean, undo, connection, messages, change):
    archive = clean("whatsapp_conversations")
    if change.startswith("id"):
        connection.execute("ALTER TABLE whatsapp_conversations ALTER COLUMN id DROP DEFAULT")
    connection.execute(f"ALTER TABLE whatsapp_conversations ALTER COLUMN {change}")
    outcome = undo(archive.name)
    if not change.startswith("created_at"):  # which write the values as before
        assert outcome.code == 0
        return
    assert outcome.code == 1
    assert "a column of whatsapp_conversations has another type now, which changes the archived values" in outcome.error
    assert messages() == []


def test_a_trigger_that_changes_returning_rows_is_refused(clean, undo, connection):
    add_batches(connection)
    archive = clean("batch_calls")
    connection.execute("""CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.created_at := now(); RETURN NEW; END $$""")
    connection.execute("CREATE TRIGGER stamp BEFORE INSERT ON batch_calls FOR EACH ROW EXECUTE FUNCTION stamp()")
    gone = everything(connection)
    outcome = undo(archive.name)
    assert outcome.code == 1
    assert "stamp on batch_calls changes rows as they come back" in outcome.error
    assert everything(connection) == gone
    connection.execute("ALTER TABLE batch_calls DISABLE TRIGGER stamp")
    assert undo(archive.name).code == 0


def test_a_trigger_that_swallows_rows_makes_conflicts(clean, undo, connection):
    add_batches(connection)
    archive = clean("batch_calls")
    connection.execute("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON call_records FOR EACH ROW WHEN (NEW.id % 2 = 0) EXECUTE FUNCTION no()"
    )
    outcome = undo(archive.name)
    assert outcome.code == 1
    assert sum(row["conflicts"] for row in outcome.json["data"]) == 30
    assert {row["reason"] for row in outcome.json["conflicts"]} == {
        "the table does not take it beside the rows that are there"
    }


SHAPES = {
    "identity": "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text, size integer GENERATED ALWAYS AS (length(text)) STORED, at date)",
    "composite": "CREATE TABLE t (text text, id serial, at timestamptz, PRIMARY KEY (id, text))",
    "types": """CREATE TABLE t (id serial PRIMARY KEY, at timestamp, b bytea DEFAULT '\\x00ff', n numeric DEFAULT 1.500, f float8 DEFAULT 0.1::float8 + 0.2,
                r int4range DEFAULT '[1,5)', i inet DEFAULT '::1', v interval DEFAULT '1 mon -3 days 04:05:06.7', a text[] DEFAULT '{"a,b",NULL,"\\""}', j json DEFAULT '{"b": 1, "a":  2}', text text)""",
    "quoted": 'CREATE TABLE t ("Ñ ""x\'" serial PRIMARY KEY, text text, "at" timestamp)',
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_kind_of_column_comes_back(clean, undo, connection, shape):
    connection.execute(SHAPES[shape])
    texts = ["", None, "a\tb\\N\n\r\v\f\b\x01\x7f", "ñ🎉", '"\\"', "\\N", "null", "50%", "{}"]
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO t (text, at) VALUES (coalesce(%s, ''), now() - interval '1 year')" if shape == "composite" else
                           "INSERT INTO t (text, at) VALUES (%s, now() - interval '1 year')", [(text,) for text in texts])  # fmt: skip
    before = everything(connection)
    archive = clean("t", "at")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    check_undo(undo, archive, connection, before, restored=len(texts))
    next_id = (
        connection.execute("INSERT INTO t (text) VALUES ('nueva') RETURNING *").fetchone()
        if shape != "composite"
        else None
    )
    assert next_id is None or len(texts) + 1 in next_id


@pytest.mark.postgres(">= 18")
def test_virtual_columns_come_back_by_themselves(clean, undo, connection):
    connection.execute(
        "CREATE TABLE t (id serial PRIMARY KEY, text text, size integer GENERATED ALWAYS AS (length(text)) VIRTUAL, at timestamp)"
    )
    connection.execute(f"INSERT INTO t (text, at) SELECT repeat('x', g), {OLD} FROM generate_series(1, 9) AS g")
    before = everything(connection)
    check_undo(undo, clean("t", "at"), connection, before, restored=9)


def test_partitioned_tables_come_back_into_their_partitions(clean, undo, connection):
    connection.execute("CREATE TABLE t (id integer, at timestamp, text text UNIQUE NULLS DISTINCT) PARTITION BY RANGE (id)" if False else
                       "CREATE TABLE t (id integer PRIMARY KEY, at timestamp, updated_at timestamp DEFAULT '2020-01-01') PARTITION BY RANGE (id)")  # fmt: skip
    connection.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    connection.execute("CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE t21 PARTITION OF t2 FOR VALUES FROM (10) TO (50)")
    connection.execute("CREATE TABLE child (id serial PRIMARY KEY, t integer REFERENCES t ON DELETE SET NULL, updated_at timestamp DEFAULT '2020-01-01')"
                       )  # fmt: skip
    connection.execute(
        """CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$"""
    )
    connection.execute("CREATE TRIGGER touch BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION touch()")
    connection.execute("CREATE TRIGGER of_one BEFORE UPDATE ON t1 FOR EACH ROW EXECUTE FUNCTION touch()")
    connection.execute(f"INSERT INTO t SELECT g, {OLD} FROM generate_series(1, 49) AS g")
    connection.execute("INSERT INTO child (t) SELECT g FROM generate_series(1, 49) AS g")
    before = everything(connection)
    archive = clean("t", "at")
    check_undo(undo, archive, connection, before, restored=98)
    connection.execute("DROP TABLE child")
    connection.execute("DELETE FROM t")
    connection.execute("ALTER TABLE t DETACH PARTITION t1; DROP TABLE t1")
    assert "t1 does not exist any more" in undo(archive.name).error


def test_a_partition_with_its_own_trigger_gets_references_back(clean, undo, connection):
    connection.execute(f"CREATE TABLE p (id integer PRIMARY KEY, at timestamp DEFAULT {OLD})")
    connection.execute(
        "CREATE TABLE c (id integer, p integer REFERENCES p ON DELETE SET NULL, updated_at timestamp DEFAULT '2020-01-01') PARTITION BY RANGE (id)"
    )
    connection.execute("CREATE TABLE c1 PARTITION OF c FOR VALUES FROM (0) TO (10)")
    connection.execute("CREATE TABLE c2 PARTITION OF c FOR VALUES FROM (10) TO (100)")
    connection.execute(
        "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER all_of_them BEFORE UPDATE ON c FOR EACH ROW EXECUTE FUNCTION touch()")
    connection.execute("CREATE TRIGGER of_one BEFORE UPDATE ON c1 FOR EACH ROW EXECUTE FUNCTION touch()")
    connection.execute("INSERT INTO p SELECT g FROM generate_series(1, 20) AS g")
    connection.execute("INSERT INTO c SELECT g, g FROM generate_series(1, 20) AS g")
    before = everything(connection)
    check_undo(undo, clean("p", "at"), connection, before, restored=40)


@pytest.mark.parametrize("batch", [3, 1000])
def test_tables_that_refer_to_themselves_come_back_in_any_order(clean, undo, connection, monkeypatch, batch):
    monkeypatch.setattr(undoing, "FIRST_ROWS", float(batch))
    monkeypatch.setattr(undoing.BatchSize, "took", lambda *_: None)
    connection.execute(
        f"CREATE TABLE t (id integer PRIMARY KEY, up integer REFERENCES t ON DELETE CASCADE, name text UNIQUE, at timestamp DEFAULT {OLD})"
    )
    # The parent has the higher number; one row refers to itself, and two to one another.
    connection.execute(
        "INSERT INTO t SELECT g, CASE WHEN g < 40 THEN g + 1 END, g FROM generate_series(1, 40) AS g ORDER BY g DESC"
    )
    connection.execute("INSERT INTO t VALUES (50, 50), (60, NULL), (61, 60)")
    connection.execute("UPDATE t SET up = 61 WHERE id = 60")
    before = everything(connection)
    archive = clean("t", "at")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    check_undo(undo, archive, connection, before, restored=43)
    connection.execute("DELETE FROM t")
    connection.execute("INSERT INTO t VALUES (1000, NULL, '10')")
    done = undo(archive.name)
    assert done.code == 1
    # Nine rows hang on the one whose name is taken.
    assert sum(row["conflicts"] for row in done.json["data"]) == 10
    assert undo(archive.name, "--dry-run").code == 0  # and comes to an end


@pytest.mark.parametrize("batch", [4, 20_000])
def test_equal_keyless_rows_come_back_as_often_as_they_went(clean, undo, connection, monkeypatch, batch):
    monkeypatch.setattr(undoing, "KEYLESS_ROWS", float(batch))
    monkeypatch.setattr(undoing, "FIRST_ROWS", float(batch))
    monkeypatch.setattr(undoing.BatchSize, "took", lambda *_: None)
    connection.execute("CREATE TABLE t (text text, at timestamp)")
    connection.execute(
        "INSERT INTO t SELECT CASE WHEN g % 5 > 0 THEN (g % 5)::text END, '2020-01-01' FROM generate_series(1, 33) AS g"
    )
    before = everything(connection)
    archive = clean("t", "at")
    connection.execute("INSERT INTO t VALUES ('1', '2020-01-01'), ('1', '2020-01-01')")
    check_undo(undo, archive, connection, before, restored=31, present=2)
    check_undo(undo, archive, connection, before, restored=0, present=33)
    connection.execute("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE text IS NULL)")
    check_undo(undo, archive, connection, before, restored=1, present=32)


def test_keyless_rows_get_references_back_if_distinguishable(clean, undo, connection):
    connection.execute(f"CREATE TABLE p (id integer PRIMARY KEY, at timestamp DEFAULT {OLD})")
    connection.execute("CREATE TABLE c (p integer REFERENCES p ON DELETE SET NULL, text text)")
    connection.execute("INSERT INTO p SELECT g FROM generate_series(1, 5) AS g")
    connection.execute("INSERT INTO c SELECT g, 'fila ' || g FROM generate_series(1, 5) AS g")
    before = everything(connection)
    archive = clean("p", "at")
    check_undo(undo, archive, connection, before, restored=10)
    check_undo(undo, archive, connection, before, restored=0, present=10)
    connection.execute("DELETE FROM c")
    connection.execute("INSERT INTO c VALUES (1, 'igual'), (2, 'igual'), (3, 'otra')")
    connection.execute(
        "DELETE FROM p; INSERT INTO p SELECT g FROM generate_series(1, 5) AS g; UPDATE c SET p = CASE text WHEN 'otra' THEN 3 ELSE 1 END"
    )
    archive = clean("p", "at")
    done = check_undo(undo, archive, connection, None, code=1, restored=6, conflicts=2)
    assert {row["reason"] for row in done.json["conflicts"]} == {"it is gone"}


def test_another_database_or_server_is_not_taken_by_accident(
    clean, undo, connection, server, use, empty_database, database
):
    add_batches(connection)
    archive = clean("batch_calls")
    use(empty_database)
    outcome = undo("newest")
    assert outcome.code == 2
    assert f"is of the database {database}, and the target is {empty_database}" in outcome.error
    use(database)
    manifest = json.loads((archive / "manifest.json").read_text())
    manifest["database"]["system_identifier"] = "7000000000000000001"
    sign(archive, "manifest.json", json.dumps(manifest).encode())
    for name in ("newest", archive.name[:-3]):
        outcome = undo(name)
        assert outcome.code == 2
        assert f"name it in full: {archive.name}" in outcome.error
    assert connection.execute("SELECT count(*) FROM batch_calls").fetchone() == (0,)
    outcome = undo(archive.name)
    assert outcome.code == 0
    assert "warning:" in outcome.err
    assert "is of a database on another server" in outcome.err


def test_another_server_is_not_asked_about_a_transaction(clean, undo, connection):
    """Its numbers mean something else there."""
    add_batches(connection)
    before = everything(connection)
    archive = clean("batch_calls")
    after = everything(connection)
    assert after != before
    with connection.transaction(force_rollback=True):
        (aborted,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    manifest = json.loads((archive / "manifest.json").read_text())
    manifest["database"]["system_identifier"] = "7000000000000000001"
    (archive / "manifest.json").write_text(json.dumps(manifest))
    (archive / "SHA256SUMS").unlink()
    lines = [json.loads(line) for line in (archive / "journal.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**line, "xid": aborted}) + "\n" for line in lines if "path" in line)
    (archive / "journal.jsonl").write_text(text)
    outcome = undo(archive.name)
    assert outcome.code == 0, outcome.err
    assert (archive / "journal.jsonl").read_text() == text
    restored = sum(row["restored"] for row in outcome.json["data"])
    assert restored == 66


def sign(archive, name, content):
    """Change a file of an archive, with its checksum."""
    import hashlib

    sums = (archive / "SHA256SUMS").read_text()
    old = hashlib.sha256((archive / name).read_bytes()).hexdigest()
    (archive / name).write_bytes(content)
    (archive / "SHA256SUMS").write_text(sums.replace(old, hashlib.sha256(content).hexdigest()))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rows_file(archive):
    return next(archive.glob("*.zst"))


DAMAGES = {
    "a flipped bit": lambda archive: flip(rows_file(archive)),
    "a truncated file": lambda archive: os.truncate(rows_file(archive), rows_file(archive).stat().st_size - 1),
    "an empty file": lambda archive: os.truncate(rows_file(archive), 0),
    "a longer file": lambda archive: rows_file(archive).write_bytes(rows_file(archive).read_bytes() + b"x"),
    "a missing file": lambda archive: rows_file(archive).unlink(),
    "a changed manifest": lambda archive: flip(archive / "manifest.json"),
    "no manifest": lambda archive: (archive / "manifest.json").unlink(),
    "a manifest of another kind": lambda archive: sign(archive, "manifest.json", b"[]"),
    "a manifest of a later version": lambda archive: sign(archive, "manifest.json", (archive / "manifest.json").read_bytes().replace(b'"format_version": 1', b'"format_version": 2')),
    "a changed journal": lambda archive: flip(archive / "journal.jsonl"),
    "a shorter journal": lambda archive: (archive / "journal.jsonl").write_text((archive / "journal.jsonl").read_text().split("\n", 1)[1]),
    "no journal": lambda archive: (archive / "journal.jsonl").unlink(),
    "changed checksums": lambda archive: flip(archive / "SHA256SUMS"),
    "checksums of another kind": lambda archive: (archive / "SHA256SUMS").write_text("nada"),
    "other rows under the checksum": lambda archive: sign(archive, rows_file(archive).name, b"(\xb5/\xfd" + bytes(20)),
    "a journal of another kind": lambda archive: sign(archive, "journal.jsonl", b'{"path": 1}\n[]\n"x"\n'),
    "a journal of other files": lambda archive: sign(archive, "journal.jsonl", (archive / "journal.jsonl").read_bytes().replace(b'"path": "01', b'"path": "99')),
}  # fmt: skip


def test_a_damaged_archive_is_refused_in_one_line_and_listed(clean, undo, connection, tmp_path):
    add_batches(connection)
    archive = clean("batch_calls")
    gone = everything(connection)
    shutil.copytree(archive, tmp_path / "copy")
    for name, damage in DAMAGES.items():
        damage(archive)
        for arguments in ((), ("--dry-run",)):
            outcome = undo(archive.name, *arguments)
            assert outcome.code == 1, name
            assert archive.name in outcome.error
            assert "it cannot be trusted" in outcome.error, (name, outcome.error)
        listed = undo()
        assert listed.code == 0, listed.err
        assert [row["run"] for row in listed.json["data"]] == [archive.name]
        shutil.rmtree(archive)
        shutil.copytree(tmp_path / "copy", archive)
    assert everything(connection) == gone
    assert undo(archive.name).code == 0


def test_the_list_shows_what_each_run_left(clean, undo, connection, archive_folder, iacalls):
    outcome = undo()
    assert (outcome.code, outcome.json["data"]) == (0, [])
    add_batches(connection)
    archive = clean("batch_calls")
    (archive_folder / "notes").mkdir()
    (archive_folder / "broken_20260101T000000Z").mkdir()
    (archive_folder / f"{archive.name}.partial").mkdir()
    rows = undo().json["data"]
    assert [(row["run"], row["state"], row["deleted"], row["nulled"]) for row in rows] == [
        (archive.name, "finished", 66, 0), ("broken_20260101T000000Z", "damaged", None, None)]  # fmt: skip
    assert "manifest.json cannot be read" in rows[1]["problem"]
    text = iacalls("maintain", "undo", "--directory", str(archive_folder))
    assert "manifest.json cannot be read" in text.out
    for name, problem in (("nada", "there is no run 'nada'"), ("", "there is no run ''")):
        outcome = undo(name)
        assert (outcome.code, problem in outcome.error) == (2, True)


DYING = TESTS / "support" / "dying.py"


MOMENTS = [
    ("undo.deleted_rows:DeletedRows.act", "before", 2),
    ("undo.deleted_rows:DeletedRows.act", "after", 1),
    ("undo.run:Undo.put_back", "after", 1),
    ("undo.run:Undo.put_back", "after", 2),
    ("undo.references:References.give", "after", 1),
    ("undo.references:References.act", "after", 1),
    ("undo.run:Undo.run", "after", 1),
]
KILLED = [(*moment, signal.SIGKILL) for moment in MOMENTS]
INTERRUPTED = [(*moment, signal.SIGTERM) for moment in MOMENTS if moment[2] == 1]
BOTH = [*KILLED[2:5:2], INTERRUPTED[2]]


@pytest.mark.parametrize(
    ("place", "moment", "times", "number"),
    [one if one in BOTH else pytest.param(*one, marks=pytest.mark.slow) for one in KILLED + INTERRUPTED],
)
def test_an_undo_that_is_killed_goes_on_when_it_is_run_again(
    clean, undo, connection, server, database, archive_folder, place, moment, times, number
):
    add_clients(connection)
    before, triggers = everything(connection), connection.execute(TRIGGERS).fetchall()
    archive = clean("clients")
    done = subprocess.run(
        [sys.executable, DYING, f"iacalls_cli.operations.maintain.{place}", moment, str(times), str(int(number)),
         "maintain", "undo", archive.name, "--directory", str(archive_folder)],
        capture_output=True, text=True, env={**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)},
    )  # fmt: skip
    assert done.returncode == (130 if number == signal.SIGTERM else -number), done.stderr
    with server.connect("postgres") as admin:
        statement = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name = 'iacalls/maintain undo'"
        )
        wait_until(lambda: admin.execute(statement, [database]).fetchone() == (0,))
    assert connection.execute(TRIGGERS).fetchall() == triggers
    outcome = undo(archive.name)
    assert outcome.code == 0, outcome.err
    assert everything(connection) == before
    assert connection.execute(TRIGGERS).fetchall() == triggers


def test_unique_values_are_compared_as_the_index_does(clean, undo, connection):
    connection.execute(
        f"CREATE TABLE t (id serial PRIMARY KEY, name text, is_active boolean DEFAULT true, at timestamp DEFAULT {OLD})"
    )
    connection.execute("CREATE UNIQUE INDEX ON t (lower(name)) WHERE is_active")
    connection.execute("INSERT INTO t (name, is_active) VALUES ('Ana', true), ('Bea', true), ('Bea', false)")
    archive = clean("t", "at")
    connection.execute("INSERT INTO t (name, at) VALUES ('ANA', now()), ('bea', now())")
    done = check_undo(undo, archive, connection, None, code=1, restored=1, conflicts=2)
    assert {row["reason"] for row in done.json["conflicts"]} == {"another row has the same lower(name)"}


def test_an_undo_as_a_process_of_its_own(clean, connection, database, server, archive_folder):
    add_batches(connection)
    before = everything(connection)
    archive = clean("batch_calls")
    outcome = run_process(
        "maintain",
        "undo",
        "newest",
        "--directory",
        str(archive_folder),
        env={"IACALLS_DSN": server.dsn(database, OWNER)},
    )
    assert outcome.code == 0, outcome.err
    assert f"plan: put back 66 rows and 0 references of the cleanup of {archive.name[-16:-12]}" in outcome.err
    assert everything(connection) == before


def test_a_table_that_refuses_row_after_row_ends_it(clean, undo, connection, messages, monkeypatch):
    monkeypatch.setattr(undoing, "MOST_REFUSED", 2)
    archive = clean("whatsapp_conversations")
    connection.execute("ALTER TABLE whatsapp_conversations ADD CHECK (phone_number = '+578')")
    outcome = undo(archive.name)
    assert outcome.code == 1
    assert "whatsapp_conversations refuses row after row: new row for relation" in outcome.error
    assert "1 row back;" in outcome.err
