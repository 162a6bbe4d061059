"""`iacalls maintain vacuum` while the application works, interrupted, killed, and in others' way."""

import signal
import time

import pytest

from tests.support.command_line import run_process, start_process
from tests.support.live_load import LiveLoad, environment, wait_until
from tests.support.servers import OWNER


@pytest.fixture
def slow_vacuum(server, database, connection, dead):
    """Every VACUUM in the database takes seconds, which is told the server and not slept."""
    connection.execute(f"ALTER DATABASE {database} SET vacuum_cost_delay = '20ms'")
    connection.execute(f"ALTER DATABASE {database} SET vacuum_cost_limit = 1")
    return dead


def working(admin, database):
    """The sessions of iacalls that vacuum now."""
    return admin.execute(
        "SELECT pid FROM pg_stat_progress_vacuum WHERE datname = %s AND pid IN (SELECT pid FROM pg_stat_activity"
        " WHERE application_name LIKE 'iacalls/%%')", [database]
    ).fetchall()  # fmt: skip


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_vacuum_on_the_server_too(server, database, slow_vacuum, stop):
    process = start_process("maintain", "vacuum", slow_vacuum, env=environment(server, database))
    with server.connect("postgres") as admin:
        wait_until(lambda: working(admin, database))
        process.send_signal(stop)
        out, said = process.communicate(timeout=20)
        assert process.returncode == 130, said
        assert out == b""
        assert b"0 of 1 were done" in said
        assert b"Traceback" not in said
        assert not working(admin, database)


def test_a_killed_command_leaves_no_vacuum_at_work(server, database, slow_vacuum):
    process = start_process("maintain", "vacuum", slow_vacuum, env=environment(server, database))
    with server.connect("postgres") as admin:
        wait_until(lambda: working(admin, database))
        process.kill()
        process.communicate()
        wait_until(lambda: not working(admin, database), 8)


def test_it_makes_way_for_who_would_stop_reads_and_writes(server, database, slow_vacuum, hasty):
    """An ALTER TABLE that waits behind VACUUM has all reads wait behind itself."""
    process = start_process("maintain", "vacuum", slow_vacuum, "-o", "json", env=environment(server, database))
    with server.connect("postgres") as admin, server.connect(database, OWNER) as other:
        wait_until(lambda: working(admin, database))
        other.execute("SET lock_timeout = 0; SET application_name = 'migracion'")
        began = time.monotonic()
        other.execute("ALTER TABLE public.whatsapp_conversations ADD COLUMN nueva int")
        waited = time.monotonic() - began
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert 0.2 < waited < 2
    assert b"0 of 1 were done" in said


def test_the_live_load_never_waits_for_it(server, database, connection, dead):
    """What the application does goes on, without an error and without a lost update."""
    connection.execute(f"ALTER DATABASE {database} SET vacuum_cost_delay = '2ms'")
    connection.execute(f"ALTER DATABASE {database} SET vacuum_cost_limit = 20")
    with LiveLoad(server, database) as load:
        outcome = run_process("maintain", "vacuum", env=environment(server, database))
    assert outcome.code == 0, outcome.err
    load.check(longest=2)


def test_a_lost_session_is_exit_code_3(server, database, slow_vacuum):
    process = start_process("maintain", "vacuum", slow_vacuum, env=environment(server, database))
    with server.connect("postgres") as admin:
        (pid,) = wait_until(lambda: working(admin, database))[0]
        admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    _, said = process.communicate(timeout=20)
    assert process.returncode == 3
    assert b"the connection was lost" in said
