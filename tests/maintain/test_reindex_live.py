"""`iacalls maintain reindex` while the application works, interrupted, killed, and in others' way."""

import json
import signal
import time

import psycopg
import pytest

from iacalls_cli.operations.maintain import reindex
from iacalls_cli.operations.maintain.rebuild_index import ReindexResult
from iacalls_cli.operations.maintain.reindex import Blockers
from tests.support.command_line import run_process, start_process
from tests.support.live_load import LiveLoad, environment, wait_until
from tests.support.refusals import refused
from tests.support.servers import OWNER

PHONE = "idx_whatsapp_conversations_phone_number"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
BUILDING = """SELECT pid FROM pg_stat_progress_create_index
               WHERE datname = current_database() AND phase LIKE 'waiting for %'"""
AT_WORK = "SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'building%'"


@pytest.fixture
def old_snapshot(server, database):
    """A session that REINDEX CONCURRENTLY waits for, with the new index built and not yet valid."""
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        yield other


@pytest.fixture
def admin(server, database):
    with server.connect(database) as opened:
        yield opened


@pytest.fixture
def begin(server, database, admin):
    """Start a reindex that waits for somebody."""
    started = []

    def start(*options):
        started.append(start_process("maintain", "reindex", PHONE, *options, env=environment(server, database)))
        wait_until(lambda: admin.execute(BUILDING).fetchall())
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def invalid(admin):
    return [row[0] for row in admin.execute(INVALID)]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_leaves_no_invalid_index(admin, old_snapshot, begin, stop):
    process = begin()
    assert invalid(admin) == [f"{PHONE}_ccnew"]
    process.send_signal(stop)
    out, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert out == b""
    assert b"Traceback" not in said
    assert invalid(admin) == []
    assert admin.execute(BUILDING).fetchall() == []


def test_what_an_interrupt_cannot_remove_is_told(server, database, admin, begin, hasty):
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM public.whatsapp_conversations")
        process = begin()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert f"{PHONE}_ccold stays (locked by session {other.info.backend_pid}".encode() in said
        assert b"the next run removes it" in said


def test_after_a_kill_the_next_run_removes_what_was_left(server, database, admin, old_snapshot, begin):
    process = begin()
    process.kill()
    process.communicate()
    # The server looks after its client, which otherwise it would not miss before it has something to say.
    wait_until(lambda: not admin.execute(BUILDING).fetchall(), 8)
    assert invalid(admin) == [f"{PHONE}_ccnew"]
    old_snapshot.execute("ROLLBACK")
    outcome = run_process("maintain", "reindex", "-o", "json", env=environment(server, database))
    assert outcome.code == 0, outcome.err
    assert f"plan: remove 1 index that an unfinished REINDEX left: {PHONE}_ccnew" in outcome.err
    assert [(row["index"], row["state"]) for row in outcome.json["data"]] == [(f"{PHONE}_ccnew", "removed")]
    assert invalid(admin) == []


def test_a_lost_session_leaves_no_invalid_index(admin, old_snapshot, begin):
    process = begin()
    ((pid,),) = admin.execute(BUILDING).fetchall()
    admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    _, said = process.communicate(timeout=20)
    assert process.returncode == 3, said
    assert b"the connection was lost" in said
    assert invalid(admin) == []


def test_it_makes_way_for_who_would_stop_reads_and_writes(server, database, admin, old_snapshot, begin, hasty):
    """An ALTER TABLE that waits behind it has all reads wait behind itself."""
    process = begin("-o", "json", "--wait", "2s")
    with server.connect(database, OWNER) as other:
        began = time.monotonic()
        other.execute("ALTER TABLE public.whatsapp_conversations ADD COLUMN nueva int")
        assert 0.2 < time.monotonic() - began < 2
    old_snapshot.execute("ROLLBACK")
    out, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert json.loads(out)["data"][0]["state"] == "rebuilt"
    assert invalid(admin) == []


def test_the_live_load_never_waits_for_it(server, database, admin):
    """Every index of the database is rebuilt while the application reads, updates and inserts."""
    with LiveLoad(server, database) as load:
        outcome = run_process("maintain", "reindex", "--all", "-o", "json", env=environment(server, database))
    assert outcome.code == 0, outcome.err
    assert invalid(admin) == []
    load.check(longest=2)


def test_two_at_once_do_not_disturb_each_other(server, database, admin, old_snapshot, begin, hasty):
    first = begin()
    second = run_process("maintain", "reindex", PHONE, env=environment(server, database))
    assert second.code == 1
    assert "(iacalls/maintain reindex)" in second.error
    old_snapshot.execute("ROLLBACK")
    assert first.wait(timeout=20) == 0
    assert invalid(admin) == []


@pytest.mark.slow
def test_the_next_run_removes_what_kills_at_many_moments_leave(server, database, admin, connection):
    import random

    chance = random.Random(5)
    connection.execute("""INSERT INTO whatsapp_conversations (phone_number, conversation_summary)
                          SELECT '+57' || g, md5(g::text) FROM generate_series(1, 200000) AS g""")
    left = 0
    for number in range(20):
        process = start_process("maintain", "reindex", "whatsapp_conversations", env=environment(server, database))
        if number == 0:  # one kill surely leaves something, however slow the machine is
            wait_until(lambda: admin.execute(AT_WORK).fetchall())
        else:
            time.sleep(chance.uniform(0.3, 2))
        sent = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[number % 3]
        process.send_signal(sent)
        process.communicate()
        if sent == signal.SIGKILL:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index")
            wait_until(lambda: not admin.execute("SELECT FROM pg_stat_progress_create_index").fetchall())
        else:
            assert process.returncode in (0, 130)
            assert invalid(admin) == []
        left += len(invalid(admin))
        outcome = run_process("maintain", "reindex", env=environment(server, database))
        assert outcome.code == 0, outcome.err
        assert invalid(admin) == []
    assert left > 0
    with refused(psycopg.errors.UndefinedTable):
        connection.execute(f"SELECT '{PHONE}_ccnew'::regclass")


TABLES = """CREATE TABLE public.{name} AS SELECT g AS a, g AS b, g AS c, g AS d FROM generate_series(1, 10) AS g;
            CREATE INDEX ON public.{name} (a); CREATE INDEX ON public.{name} (b);
            CREATE INDEX ON public.{name} (c); CREATE INDEX ON public.{name} (d)"""


@pytest.fixture
def two_tables(server, empty_database, use):
    """Two tables with four indexes each, in a database that is the target."""
    use(empty_database)
    with server.connect(empty_database) as admin:
        admin.execute(f"GRANT ALL ON SCHEMA public TO {OWNER}")
    with server.connect(empty_database, OWNER) as owner:
        for name in ("first", "second"):
            owner.execute(TABLES.format(name=name))
        yield owner


def reindexed(outcome):
    rows = json.loads(outcome.out)["data"]
    return {
        state: sum(row["state"] == "rebuilt" if state == "rebuilt" else state in (row["note"] or "") for row in rows)
        for state in ("rebuilt", "waited", "not tried")
    }


def test_an_old_snapshot_is_not_waited_for_again_and_again(server, empty_database, two_tables, iacalls):
    with server.connect(empty_database, OWNER) as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        began = time.monotonic()
        outcome = iacalls("maintain", "reindex", "--all", "--wait", "1s", "-o", "json")
        assert time.monotonic() - began < 20
        assert outcome.code == 1
        found = reindexed(outcome)
        # Two of a table, and one of the other table or two.
        assert found["waited"] in (2, 3, 4)
        assert found == {"rebuilt": 0, "waited": found["waited"], "not tried": 8 - found["waited"]}
        assert f"session {other.info.backend_pid}" in outcome.out
    assert iacalls("maintain", "reindex", "--all").code == 0


@pytest.mark.slow
def test_a_transaction_that_uses_one_table_blocks_that_one_alone(server, empty_database, two_tables, iacalls):
    with server.connect(empty_database, OWNER) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO public.first VALUES (1, 1, 1, 1)")
        outcome = iacalls("maintain", "reindex", "--all", "--wait", "1s", "-o", "json")
        assert outcome.code == 1
        assert reindexed(outcome) == {"rebuilt": 4, "waited": 2, "not tried": 2}


def test_an_ended_transaction_is_not_held_against_the_others():
    class Gone:
        """A session in which nobody is found."""

    blockers = Blockers()
    for index in ("a", "b"):
        blockers.note(ReindexResult(index, "t", "failed", problem="waited 1s", blocked_by="session 7 (psql)"))
    for answer, expected in (([{"pid": 7}], "session 7 (psql)"), ([], "")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reindex, "fetch", lambda *_, answer=answer: answer)
            assert blockers.of(Gone(), "t") == expected
    blockers.note(ReindexResult("c", "t", "rebuilt"))
    assert blockers.of(Gone(), "t") == ""
