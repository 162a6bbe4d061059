"""sql/schema.sql: what the dictionary promises, and sql/catalogue.json in step with it."""

import json
import re
import time
from collections import Counter

import psycopg
import pytest

from iacalls_cli.database.connection import REPORTING, apply_settings
from iacalls_cli.operations.db.catalog import CATALOGUE, expected_catalog, normalise
from iacalls_cli.operations.db.verify import read_catalog
from iacalls_cli.queries import load_schema
from tests.support.refusals import refused


def as_json(catalogue):
    rows = [[key.kind, key.relation, key.name, definition] for key, definition in sorted(catalogue.items())]
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


@pytest.mark.golden
def test_catalogue_is_what_the_schema_makes(connection, server, golden):
    apply_settings(connection, read_only=True, limits=REPORTING)
    live = read_catalog(connection)
    if server.major >= 18:
        golden(CATALOGUE, as_json(live))
    expected_catalog.cache_clear()
    assert {key: normalise(key.kind, text) for key, text in live.items()} == {
        key: normalise(key.kind, text) for key, text in expected_catalog().items()
    }


def test_objects_are_those_of_the_documented_schema():
    counts = Counter(key.kind for key in expected_catalog())
    assert counts["table"] == 9
    assert counts["view"] == 3
    assert counts["index"] == 43
    assert counts["foreign key"] == 12
    assert counts["check"] == 6
    assert counts["unique"] == 6
    assert counts["trigger"] == 8
    assert counts["function"] == 1
    assert len([key for key in expected_catalog() if key.kind == "column" and key.relation == "groups"]) == 25


def test_schema_never_destroys_and_never_skips():
    code = re.sub(r"--[^\n]*|'[^']*'", "", load_schema()).upper()
    for word in ("DROP", "TRUNCATE", "DELETE FROM", "OR REPLACE", "IF NOT EXISTS", "ALTER"):
        assert word not in code


def test_tables_and_five_columns_are_commented(connection):
    tables, columns = connection.execute(
        "SELECT count(*) FILTER (WHERE objsubid = 0), count(*) FILTER (WHERE objsubid > 0) FROM pg_description "
        "JOIN pg_class ON pg_class.oid = objoid WHERE classoid = 'pg_class'::regclass "
        "AND relnamespace = 'public'::regnamespace"
    ).fetchone()
    assert (tables, columns) == (9, 5)


def test_updated_at_moves_with_every_update(connection):
    connection.execute("UPDATE users SET updated_at = '2001-01-01'")
    row = connection.execute(
        "UPDATE users SET first_name = 'Íñigo' RETURNING updated_at > now() - interval '1 min'"
    ).fetchone()
    assert row == (True,)


def poll(connection, rounds=20, calls=100):
    """The backend's polling load; returns the share of its updates that were heap-only."""
    batch = connection.execute("INSERT INTO batch_calls (batch_id) VALUES ('b') RETURNING id").fetchone()[0]
    connection.execute(
        "INSERT INTO call_records (batch_call_id, phone_number, status, call_duration_secs) "
        "SELECT %s, '+57' || g, 'completed', 60 FROM generate_series(1, %s) AS g",
        [batch, calls],
    )
    for number in range(rounds * calls):
        connection.execute(
            "UPDATE call_records SET call_ended_at = clock_timestamp(), full_transcript = '[]', call_duration_secs = 60 "
            "WHERE batch_call_id = %s AND phone_number = %s",
            [batch, f"+57{number % calls + 1}"],
        )
    until = time.monotonic() + 20
    while time.monotonic() < until:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        updated, heap_only = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'call_records'"
        ).fetchone()
        if updated == rounds * calls:
            return heap_only / updated
        time.sleep(0.2)
    raise AssertionError("the statistics of the updates did not arrive")


def test_polling_updates_stay_heap_only(connection):
    """Polling rewrites these columns every three seconds, and no index of ours is on one."""
    assert poll(connection) >= 0.95


def test_the_covering_index_for_durations_keeps_them_so(connection):
    """The one index that docs/benchmarks.md recommends."""
    connection.execute("CREATE INDEX ON call_records (batch_call_id) INCLUDE (call_duration_secs)")
    assert poll(connection) >= 0.95


def test_an_index_on_a_polled_column_would_end_that(connection):
    connection.execute("CREATE INDEX ON call_records (call_ended_at)")
    assert poll(connection) < 0.05


def test_cascades_are_the_documented_ones(connection):
    """Traps 11 and 12: what a delete takes along, and what it sets to NULL."""
    deletes = {
        key.name: text.rsplit("ON DELETE ", 1)[-1]
        for key, text in expected_catalog().items()
        if key.kind == "foreign key"
    }
    assert deletes["call_records_batch_call_id_fkey"] == "CASCADE"
    assert deletes["call_records_client_id_fkey"] == "SET NULL"
    assert Counter(deletes.values()) == {"SET NULL": 9, "CASCADE": 3}


def test_a_second_run_fails_whole(connection):
    before = read_catalog(connection)
    with refused(psycopg.errors.DuplicateTable), connection.transaction():
        connection.execute(load_schema())
    assert read_catalog(connection) == before
