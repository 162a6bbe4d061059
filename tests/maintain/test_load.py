"""`iacalls maintain cleanup` with its archive while the application polls: nothing fails, nothing is lost, nobody waits long."""

import json
import random
import threading

import pytest

from tests.support.command_line import start_process
from tests.support.live_load import LiveLoad, environment
from tests.support.old_rows import add_old_rows, archived_rows, archives_in, check_sums, rows_of
from tests.support.servers import OWNER

# Sessions of the application that wait for the cleanup, and how long they have.
BLOCKED = """SELECT a.pid, extract(epoch FROM clock_timestamp() - l.waitstart)::float8
               FROM pg_stat_activity AS a
               JOIN pg_locks AS l ON l.pid = a.pid AND NOT l.granted
              WHERE a.datname = current_database() AND a.application_name = 'backend'
                AND EXISTS (SELECT FROM unnest(pg_blocking_pids(a.pid)) AS b(pid)
                              JOIN pg_stat_activity AS o ON o.pid = b.pid AND o.application_name LIKE 'iacalls/maintain%'
                            )"""
OLD_BATCHES = """INSERT INTO public.batch_calls (batch_id, status, created_at)
                 SELECT 'viejo ' || g, CASE g % 2 WHEN 0 THEN 'completed' ELSE 'in_progress' END, localtimestamp - interval '90 days'
                   FROM generate_series(1, 20) AS g"""
ATTACH = """UPDATE public.call_records AS c SET batch_call_id = b.id
              FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM public.batch_calls WHERE batch_id LIKE 'viejo %%') AS b
             WHERE b.n = 1 + c.id %% 21"""
SLACK_SECONDS = 1.0


class Backend(LiveLoad):
    """The load, and beside it an application that takes old rows up again while they are cleaned up."""

    def __init__(self, server, database, seed):
        super().__init__(server, database)
        self.random = random.Random(seed)
        self.saved, self.blocked = set(), []

    def __enter__(self):
        super().__enter__()
        more = [
            threading.Thread(target=self.guard, args=(work,)) for work in (self.save, self.watch, self.count_batches)
        ]
        self.threads += more
        for thread in more:
            thread.start()
        return self

    def save(self):
        """Make old rows young, or calls that had failed not failed: what was saved may not go."""
        changes = [
            ("call_records", "status = 'completed'"),
            ("call_records", "created_at = localtimestamp"),
            ("whatsapp_conversations", "created_at = localtimestamp, status = 'read'"),
        ]
        with self.connect() as connection:
            most = connection.execute("SELECT max(id) FROM public.whatsapp_conversations").fetchone()[0]
            while not self.done.is_set():
                table, change = self.random.choice(changes)
                number = self.random.randint(1, most)
                # In a transaction that stays open for a moment, as one with more to do would.
                with connection.transaction():
                    done = connection.execute(f"UPDATE public.{table} SET {change} WHERE id = %s", [number]).rowcount
                    self.done.wait(0.003)
                if done:
                    self.saved.add((table, number))

    def count_batches(self):
        """The poll's other half: what the batch says of itself."""
        with self.connect() as connection:
            while not self.done.is_set():
                for batch in self.batches:
                    statement = "UPDATE public.batch_calls SET completed_calls = completed_calls + 1 WHERE id = %s"
                    self.timed(connection, statement, [batch])
                self.done.wait(0.005)

    def watch(self):
        """How long sessions of the application wait for the cleanup."""
        with self.server.connect(self.database) as connection:
            while not self.done.is_set():
                self.blocked += [row[1] for row in connection.execute(BLOCKED) if row[1] is not None]
                self.done.wait(0.005)


def check_cleanup_under_load(server, database, connection, archive_folder, undo, rows, seed):
    add_old_rows(connection, rows)
    connection.execute(OLD_BATCHES)
    connection.execute(ATTACH.replace("%%", "%"))
    kept = {row[0] for row in connection.execute(
        "SELECT id FROM call_records WHERE batch_call_id IN (SELECT id FROM batch_calls WHERE status = 'in_progress')")}  # fmt: skip
    old = rows_of(connection)
    arguments = ["maintain", "cleanup", "--directory", str(archive_folder), "-o", "json"]
    with Backend(server, database, seed) as load:
        process = start_process(*arguments, env=environment(server, database))
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    answer = json.loads(out)
    load.check(longest=10)
    # What a transaction of the cleanup takes is what somebody may have to wait for it.
    longest = max(row["longest_ms"] for row in answer["data"]) / 1000
    assert max(load.blocked, default=0) <= longest + SLACK_SECONDS
    for table in ("call_records", "whatsapp_conversations"):
        saved = [number for name, number in load.saved if name == table]
        assert len(saved) > 5
        found = connection.execute(f"SELECT count(*) FROM {table} WHERE id = ANY(%s)", [saved]).fetchone()
        assert found == (len(saved),), table
    assert connection.execute("SELECT count(*) FROM call_records WHERE id = ANY(%s)", [list(kept)]).fetchone() == (
        len(kept),
    )
    # Every row that is gone is in the archive as it was; those that the load changed did not go.
    (archive,) = archives_in(archive_folder)
    assert check_sums(archive) == ""
    gone = archived_rows(archive)
    assert sum(gone.values()) == sum(row["deleted"] for row in answer["data"])
    assert not gone - old
    left = rows_of(connection)
    ids = {tuple(row.split("\t")[:2]) for row in left}
    assert {tuple(row.split("\t")[:2]) for row in old} - ids == {tuple(row.split("\t")[:2]) for row in gone}
    # What the load wrote stays, and the old rows come back beside it.
    connection.execute("DELETE FROM batch_calls WHERE batch_id LIKE 'carga-%'")
    with Backend(server, database, seed + 1) as load:
        outcome = undo(archive.name)
    load.check(longest=10)
    assert outcome.code == 0, outcome.err
    assert not gone - rows_of(connection) - changed_again(load, rows_of(connection), gone)


def changed_again(load, rows, gone):
    """Rows that came back and that the load has already changed."""
    by_id = {tuple(row.split("\t")[:2]): row for row in gone}
    return type(rows)({by_id[table, str(number)]: 1 for table, number in load.saved if (table, str(number)) in by_id})


def test_the_application_goes_on_during_cleanup_and_undo(server, database, connection, archive_folder, undo):
    check_cleanup_under_load(server, database, connection, archive_folder, undo, 12_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_the_application_goes_on_for_long(server, database, connection, archive_folder, undo, seed):
    check_cleanup_under_load(server, database, connection, archive_folder, undo, 150_000, seed)


def test_a_row_in_use_stays_and_goes_with_the_next_cleanup(server, database, connection, cleanup, old_rows):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("UPDATE public.call_records SET transcript_summary = 'ahora' WHERE id = 1")
        outcome = cleanup("--pause", "0s")
        assert outcome.code == 0, outcome.err
        rows = {row["rule"]: row for row in outcome.json["data"]}
        assert (rows["failed-calls"]["deleted"], rows["failed-calls"]["skipped_locked"]) == (1499, 1)
    outcome = cleanup("--pause", "0s")
    assert [row["deleted"] for row in outcome.json["data"]] == [0, 1]
