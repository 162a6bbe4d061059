"""`iacalls maintain cleanup` while the application polls: its updates, inserts and reads go on."""

from tests.support.command_line import run_process
from tests.support.live_load import LiveLoad, environment
from tests.support.old_rows import add_old_rows

BATCHES = """
[maintain.rules.batches]
table = "batch_calls"
age_column = "created_at"
age = "30d"
"""
OLD_BATCHES = """
    WITH old AS (INSERT INTO batch_calls (batch_id, status, created_at)
                 SELECT 'vieja-' || g, 'completed', '2020-01-01' FROM generate_series(1, 100) AS g RETURNING id)
    INSERT INTO call_records (batch_call_id, phone_number, status, created_at)
    SELECT old.id, '+57' || g, 'completed', '2020-01-01' FROM old, generate_series(1, 50) AS g"""


def test_the_live_load_never_waits_for_it(server, database, connection, configure, tmp_path):
    """The poll loop of the application: no error, no lost update, and the longest wait for a lock is short."""
    configure(BATCHES)
    add_old_rows(connection, 20_000)
    connection.execute(OLD_BATCHES)
    command = ("maintain", "cleanup", "--directory", str(tmp_path / "archivos"), "--pause", "20ms", "-o", "json")
    with LiveLoad(server, database) as load:
        outcome = run_process(*command, env=environment(server, database))
    assert outcome.code == 0, outcome.err
    assert [row["deleted"] for row in outcome.json["data"]] == [18_000, 15_000, 100]
    assert outcome.json["data"][2]["cascaded"] == 5_000
    load.check(longest=2)
    assert connection.execute("SELECT count(*) FROM batch_calls").fetchone() == (len(load.batches),)
