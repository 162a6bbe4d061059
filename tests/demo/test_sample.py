"""Sample data: reproducible, whole or nothing, like the application's own."""

import json
import tracemalloc
from collections import Counter
from dataclasses import fields
from datetime import datetime

import psycopg
import pytest

from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.operations.sample.generate import HISTORY_DAYS, Amounts, Sample, amounts_of
from iacalls_cli.operations.sample.load import COLUMNS, load_sample
from tests.support.refusals import refused

ANCHOR = datetime(2026, 1, 15, 12)  # noqa: DTZ001, the schema's timestamps have no zone
TABLES = [field.name for field in fields(Amounts)]


def silent(table, done, total):
    """No progress."""


def rows_of(scale, seed):
    sample = Sample(amounts_of(scale), seed, ANCHOR)
    return {table: [tuple(row) for row in getattr(sample, table)()] for table in TABLES}


def test_equal_seeds_give_equal_rows_and_others_other_rows():
    assert rows_of(0.2, 1) == rows_of(0.2, 1)
    assert rows_of(0.2, 1)["call_records"] != rows_of(0.2, 2)["call_records"]


@pytest.mark.parametrize("scale", [0.01, 0.5, 2])
def test_amounts_are_kept(scale):
    sample = Sample(amounts_of(scale), 1, ANCHOR)
    for table in TABLES:
        rows = list(getattr(sample, table)())
        assert len(rows) == getattr(sample.amounts, table)
        assert {len(row) for row in rows} == {len(COLUMNS[table].split())}


def test_scale_1000_is_the_set_that_is_measured():
    assert amounts_of(1000) == Amounts(
        users=8, clients=200_000, groups=500, client_groups=400_000, uploaded_files=100, gcp_documents=100,
        batch_calls=2000, call_records=5_000_000, whatsapp_conversations=1_000_000,
    )  # fmt: skip


@pytest.fixture
def loaded(connection):
    load_sample(connection, 0.5, 1, ANCHOR, silent)
    return connection


def test_what_is_loaded(loaded):
    amounts = amounts_of(0.5)
    for table in TABLES:
        expected = getattr(amounts, table) + (table == "users")
        assert loaded.execute(f"SELECT count(*) FROM {table}").fetchone() == (expected,)
    assert verify_database(loaded).problems == 0


def test_it_is_like_the_applications_data(loaded):
    statuses = {status for (status,) in loaded.execute("SELECT DISTINCT status FROM call_records")}
    assert statuses == {"pending", "initiated", "ringing", "in_progress", "completed", "finished", "ended", "failed", "busy",
                        "no_answer", "cancelled"}  # fmt: skip
    for table, column in [("whatsapp_conversations", "status"), ("batch_calls", "status"), ("groups", "batch_status")]:
        assert loaded.execute(f"SELECT count(DISTINCT {column}) FROM {table}").fetchone()[0] >= 4
    transcript = loaded.execute(
        "SELECT full_transcript FROM call_records WHERE status = 'completed' LIMIT 1"
    ).fetchone()[0]
    assert [set(message) >= {"role", "message"} for message in transcript] == [True, True]
    assert loaded.execute("SELECT count(*) FROM clients WHERE phone !~ '^\\+57300[0-9]{7}$'").fetchone() == (0,)
    assert loaded.execute("SELECT count(*) FROM clients WHERE name ~ '[áéíóúñÁÉÍÓÚÑ]'").fetchone()[0] > 50
    oldest, newest = loaded.execute("SELECT min(created_at), max(created_at) FROM call_records").fetchone()
    assert (ANCHOR - oldest).days > HISTORY_DAYS * 0.8
    assert newest <= ANCHOR
    phones = Counter(phone for (phone,) in loaded.execute("SELECT phone FROM clients"))
    assert max(phones.values()) > 1
    assert loaded.execute("SELECT count(*) FROM call_records WHERE client_id IS NULL").fetchone()[0] > 0


def test_new_rows_get_new_ids(loaded):
    for table in TABLES:
        sequence = loaded.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", [table]).fetchone()[0]
        assert loaded.execute(f"SELECT max(id) FROM {table}").fetchone()[0] == sequence - 1


def test_data_that_are_there_are_never_touched(connection):
    connection.execute("INSERT INTO clients (name) VALUES ('Real')")
    assert load_sample(connection, 0.1, 1, ANCHOR, silent) is False
    assert connection.execute("SELECT name FROM clients").fetchall() == [("Real",)]
    assert connection.execute("SELECT count(*) FROM call_records").fetchone() == (0,)


def test_a_failure_in_the_middle_loads_nothing(connection):
    connection.execute("ALTER TABLE call_records ADD CONSTRAINT no CHECK (id < 50)")
    with refused(psycopg.errors.CheckViolation):
        load_sample(connection, 0.1, 1, ANCHOR, silent)
    assert connection.execute("SELECT count(*) FROM clients").fetchone() == (0,)


def test_progress_reaches_the_end(connection):
    seen = {}
    load_sample(connection, 0.1, 1, ANCHOR, lambda table, done, total: seen.update({table: (done, total)}))
    assert set(seen) == set(TABLES)
    assert all(done == total for done, total in seen.values())


def test_memory_does_not_grow_with_scale():
    def peak(scale):
        sample = Sample(amounts_of(scale), 1, ANCHOR)
        tracemalloc.start()
        for _ in sample.call_records():
            pass
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(1)
    assert peak(10) < 1.5 * peak(1)


def test_transcripts_are_json_arrays_of_role_and_message():
    sample = Sample(amounts_of(0.1), 1, ANCHOR)
    transcripts = [json.loads(row[9]) for row in sample.call_records() if row[9]]
    assert transcripts
    assert all(message["role"] in ("agent", "user") for transcript in transcripts for message in transcript)
