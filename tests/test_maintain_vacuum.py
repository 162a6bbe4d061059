"""`iacalls maintain vacuum`: on a live system, told in numbers, and never in anybody's way."""

import psycopg
import pytest

from iacalls_cli.operations.maintain.vacuum import vacuum_table
from tests.servers import OWNER, READER

MANY = """INSERT INTO whatsapp_conversations (phone_number, conversation_summary)
          SELECT '+57' || g, repeat('x', 200) FROM generate_series(1, 4000) AS g"""


@pytest.fixture
def dead(connection):
    """A table with 4000 rows, the last 3000 of them deleted in the same session just now."""
    connection.execute(MANY)
    connection.execute("DELETE FROM whatsapp_conversations WHERE id > 1000")
    return "whatsapp_conversations"


def no_pause(_):
    """For tests that know that a lock will not come free."""


@pytest.mark.postgres(">= 15")  # before, a session could not be told to hand over its counts
def test_one_table_is_vacuumed_with_numbers(connection, dead):
    result = vacuum_table(connection, "public", dead)
    assert (result.state, result.problem, result.held_back) == ("vacuumed", "", "")
    assert (result.before.dead_rows, result.after.dead_rows) == (3000, 0)
    assert result.after.live_rows == 1000
    assert result.freed > 400_000
    assert result.before.size >= result.before.heap + result.before.indexes


def test_the_session_is_as_it_was_afterwards(connection, dead):
    connection.execute("SET statement_timeout = '7s'")
    connection.execute("SET lock_timeout = '3s'")
    vacuum_table(connection, "public", dead)
    assert connection.execute("SHOW statement_timeout").fetchone() == ("7s",)
    assert connection.execute("SHOW lock_timeout").fetchone() == ("3s",)


def test_a_short_time_out_of_the_session_does_not_end_it(connection, dead):
    connection.execute("SET statement_timeout = '50ms'")
    connection.execute("SET vacuum_cost_delay = 20; SET vacuum_cost_limit = 20")
    assert vacuum_table(connection, "public", dead).state == "vacuumed"


def test_a_lock_that_does_not_come_free_is_told_with_who_holds_it(server, database, connection, dead):
    connection.execute("SET lock_timeout = '50ms'")
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SET application_name = 'un informe'")
        other.execute("LOCK TABLE public.whatsapp_conversations IN SHARE MODE")
        result = vacuum_table(connection, "public", dead, pause=no_pause)
        assert f"locked by session {other.info.backend_pid} (un informe) since 20" in result.problem
    assert (result.state, result.sqlstate) == ("failed", "55P03")
    assert result.before.dead_rows == 3000


def test_a_table_that_cannot_even_be_measured_is_told(server, database, connection, dead):
    connection.execute("SET lock_timeout = '50ms'")
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE public.whatsapp_conversations IN ACCESS EXCLUSIVE MODE")
        result = vacuum_table(connection, "public", dead, pause=no_pause)
    assert (result.state, result.before, result.after) == ("failed", None, None)
    assert "locked by session" in result.problem


def test_a_lock_that_comes_free_is_waited_for(server, database, connection, dead):
    connection.execute("SET lock_timeout = '50ms'")
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE public.whatsapp_conversations IN SHARE MODE")
        result = vacuum_table(connection, "public", dead, pause=lambda _: other.execute("ROLLBACK"))
    assert result.state == "vacuumed"


def test_who_holds_dead_rows_back_is_named(server, database, connection):
    connection.execute(MANY)
    with server.connect(database, READER) as other:
        other.execute("SET application_name = 'un informe'")
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT count(*) FROM public.whatsapp_conversations")
        connection.execute("DELETE FROM whatsapp_conversations WHERE id > 1000")
        result = vacuum_table(connection, "public", "whatsapp_conversations")
        assert (result.state, result.after.dead_rows) == ("vacuumed", 3000)
        # Another role's session shows its name and not since when.
        assert result.held_back == f"session {other.info.backend_pid} (un informe)"
        other.execute("ROLLBACK")
    result = vacuum_table(connection, "public", "whatsapp_conversations")
    assert (result.after.dead_rows, result.held_back) == (0, "")


def test_a_role_that_may_not_is_told_so(server, database):
    with server.connect(database, READER) as reader:
        result = vacuum_table(reader, "public", "users")
    assert (result.state, result.problem) == ("skipped", f"the role {READER} may not vacuum it")


def test_a_table_that_is_gone_is_told(connection):
    result = vacuum_table(connection, "public", "calls")
    assert (result.state, result.problem) == ("failed", "there is no table calls any more")


def test_names_that_need_quotes(connection):
    connection.execute('CREATE SCHEMA "Año 1"')
    connection.execute('CREATE TABLE "Año 1"."x;""y" (id int)')
    result = vacuum_table(connection, "Año 1", 'x;"y')
    assert (str(result), result.state) == ('Año 1.x;"y', "vacuumed")


@pytest.mark.parametrize("is_full", [False, True])
def test_full_gives_all_the_room_back(connection, dead, is_full):
    connection.execute("INSERT INTO whatsapp_conversations (phone_number) VALUES ('last')")
    result = vacuum_table(connection, "public", dead, is_full=is_full)
    assert result.state == "vacuumed"
    assert (result.freed > 0) is is_full


def test_a_lost_connection_is_raised(connection, dead):
    from iacalls_cli.errors import ConnectionFailed

    def end(_):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(psycopg.errors.AdminShutdown):
        end(0)
    with pytest.raises(ConnectionFailed):
        vacuum_table(connection, "public", dead)
