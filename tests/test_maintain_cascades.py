"""What a cleanup takes along, what it changes and what it keeps: counted before, and again afterwards."""

import pytest

from tests.cleanups import archived, by_name, rows_of
from tests.servers import OWNER

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
        {"rule": "batches", "table": "call_records", "action": "delete", "rows": 7, "triggers": "", "foreign_key": "call_records_batch_call_id_fkey"}
    ]  # fmt: skip
    result = clean("--only", "batches")
    assert by_name(result["data"])["batches"]["deleted"] == 2
    assert by_name(result["data"])["batches"]["cascaded"] == 7
    assert {name[1]: len(rows) for name, rows in archived(result["run"]["archive"]).items()} == {
        "batch_calls": 2, "call_records": 7,
    }  # fmt: skip
    assert rows_of(owner, "batch_calls") == rows_of(owner, "call_records") == []
