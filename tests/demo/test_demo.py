"""`iacalls demo`: from nothing to the reports, on the embedded server and nowhere else."""

import re
import signal
import time

import psycopg

from iacalls_cli.embedded.server import DATABASE, embedded_server
from iacalls_cli.operations.db.verify import verify_database
from tests.support.command_line import run_process, run_terminal, start_process
from tests.support.servers import OWNER


def connect():
    return psycopg.connect(**embedded_server().conninfo(DATABASE), autocommit=True)


def test_from_nothing_to_the_reports_and_again(data_home, iacalls):
    first = iacalls("demo", "--scale", "0.2")
    assert first.code == 0
    for name in ("stats", "groups", "calls", "whatsapp", "top-clients", "durations", "group-statistics", "client-history 1",
                 "batch-statistics"):  # fmt: skip
        assert f"iacalls report {name}: " in first.out
    assert "call_records: 1,000" in first.err
    steps = re.findall(r"^  iacalls (.+)$", first.out, re.MULTILINE)
    assert len(steps) >= 5
    for step in steps:
        assert iacalls(*step.split()).code == 0, step
    with connect() as connection:
        assert verify_database(connection).problems == 0
        before = connection.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables").fetchone()
    second = iacalls("demo")
    assert second.code == 0
    assert second.out == first.out
    assert "nothing is loaded" in second.err
    with connect() as connection:
        after = connection.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables").fetchone()
    assert after == before


def test_a_configured_target_is_never_touched(data_home, server, empty_database, use, iacalls):
    use(empty_database)
    outcome = iacalls("demo", "--scale", "0.01")
    assert outcome.code == 0
    assert "report groups --dsn embedded" in outcome.out
    with server.connect(empty_database, OWNER) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone() == (0,)


def test_at_a_terminal(data_home):
    code, screen = run_terminal("demo", "--scale", "0.05")
    assert code == 0
    assert "━" in screen
    assert "───" in screen
    assert "report groups\n" in screen
    assert all(len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)) <= 80 for line in screen.splitlines() if "─" in line)


def is_loading(table):
    """Whether a COPY into that table runs on the embedded server, if that runs at all."""
    try:
        with connect() as connection:
            query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE %s"
            return connection.execute(query, [f'COPY "public"."{table}"%']).fetchone() is not None
    except psycopg.OperationalError:
        return False


def test_a_killed_load_is_done_whole_by_the_next(data_home):
    first = start_process("demo", "--scale", "20")
    until = time.monotonic() + 60
    while not is_loading("call_records"):
        assert time.monotonic() < until
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM clients").fetchone() == (0,)
    assert run_process("demo", "--scale", "0.05").code == 0
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM call_records").fetchone() == (250,)


def test_two_at_once_load_once(data_home):
    first, second = start_process("demo", "--scale", "1"), start_process("demo", "--scale", "1")
    for process in (first, second):
        _, said = process.communicate()
        assert process.returncode == 0, said
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM call_records").fetchone() == (5000,)
        assert connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE '%.init-%'").fetchone() == (0,)


def test_beside_data_of_ones_own_nothing_is_loaded(data_home, iacalls):
    assert iacalls("db", "init", "--dsn", "embedded").code == 0
    with connect() as connection:
        connection.execute("INSERT INTO users (username, email, password) VALUES ('ana', 'ana@x', 'x')")
    outcome = iacalls("demo", "--scale", "0.01")
    assert outcome.code == 0
    assert "nothing is loaded" in outcome.err
    with connect() as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2,)
