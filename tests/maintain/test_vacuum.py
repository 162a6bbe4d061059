"""`iacalls maintain vacuum`: on a live system, told in numbers, and never in anybody's way."""

import time
from types import SimpleNamespace

import pytest

from iacalls_cli.operations.maintain.vacuum_table import measure, vacuum_table
from tests.support.command_line import run_terminal
from tests.support.live_load import MANY_ROWS, LiveLoad, environment
from tests.support.servers import OWNER, READER


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


def test_a_lock_that_stays_taken_is_told_with_its_holder(server, database, connection, dead):
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


@pytest.mark.postgres(">= 15")  # see above
def test_who_holds_dead_rows_back_is_named(server, database, connection):
    connection.execute("ALTER TABLE whatsapp_conversations SET (autovacuum_enabled = off)")
    connection.execute(MANY_ROWS)
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

    with pytest.raises(ConnectionFailed):
        end(0)
    with pytest.raises(ConnectionFailed):
        vacuum_table(connection, "public", dead)


@pytest.fixture
def vacuum(database, use, iacalls):
    """Run `maintain vacuum` on the database, as its owner."""
    use(database)
    return lambda *options: iacalls("maintain", "vacuum", "-o", "json", *options)


def rows(outcome):
    return {row["table"]: row for row in outcome.json["data"]}


def test_all_tables_the_most_needy_first(connection, dead, vacuum):
    connection.execute("VACUUM users, clients")
    time.sleep(0 if connection.info.server_version >= 150_000 else 0.6)
    outcome = vacuum()
    assert outcome.code == 0, outcome.err
    names = [row["table"] for row in outcome.json["data"]]
    assert names[0] == dead
    assert len(names) == 9
    assert names.index("users") > names.index("whatsapp_conversations")
    assert {row["state"] for row in outcome.json["data"]} == {"vacuumed"}
    assert f"most in need: {dead} (75% of its rows are dead)" in outcome.err
    assert f"iacalls: {dead} (pages): " in outcome.err
    row = rows(outcome)[dead]
    assert (row["dead_before"], row["dead_after"], row["note"]) == (3000, 0, "")
    assert row["size_after"] < row["size_before"]


def test_a_dry_run_changes_nothing(connection, dead, vacuum):
    outcome = vacuum("--dry-run", dead)
    assert outcome.code == 0
    assert rows(outcome)[dead]["verdict"] == "vacuum"
    assert rows(outcome)[dead]["reason"] == "75% of its rows are dead"
    assert measured(connection, dead).dead_rows == 3000


def measured(connection, table):
    oid = connection.execute("SELECT %s::regclass::oid::bigint", [table]).fetchone()[0]
    return measure(connection, oid)


@pytest.mark.parametrize(("names", "said"), [(["call_record"], "did you mean call_records?"), (["xyz"], "`iacalls db tables`"),
                                             (["users", "group_statistics"], "no table group_statistics")])  # fmt: skip
def test_a_table_that_does_not_exist_is_named(vacuum, names, said):
    outcome = vacuum(*names)
    assert outcome.code == 2
    assert said in outcome.error


@pytest.mark.parametrize("name", ["users", "public.users", "USERS", "Public.Users"])
def test_names_as_people_type_them(vacuum, name):
    assert list(rows(vacuum(name, "users"))) == ["users"]


def test_several_at_a_time(connection, dead, vacuum):
    outcome = vacuum("--jobs", "3")
    assert outcome.code == 0
    assert len(rows(outcome)) == 9
    assert "3 at a time" in outcome.err


def test_partitions_and_materialized_views(connection, vacuum):
    connection.execute("CREATE TABLE m (id int, k int) PARTITION BY LIST (k)")
    connection.execute(
        "CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1); CREATE TABLE m2 PARTITION OF m FOR VALUES IN (2)"
    )
    connection.execute(
        "CREATE MATERIALIZED VIEW v AS SELECT 1 AS a; CREATE MATERIALIZED VIEW w AS SELECT 1 AS a WITH NO DATA"
    )
    connection.execute("CREATE UNLOGGED TABLE u (id int); CREATE TEMP TABLE t (id int)")
    assert set(rows(vacuum("m", "v"))) == {"m1", "m2", "v"}
    assert set(rows(vacuum())) & {"m", "m1", "m2", "v", "w", "u", "t"} == {"m1", "m2", "v", "u"}


def test_a_locked_table_is_told_and_the_others_are_done(server, database, vacuum, hasty):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SET application_name = 'migracion'")
        other.execute("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
        outcome = vacuum()
        holder = f"users: locked by session {other.info.backend_pid} (migracion) since"
    assert outcome.code == 1
    assert "1 of 9 could not be vacuumed: " + holder in outcome.error
    assert "the others are done" in outcome.error
    states = {name: row["state"] for name, row in rows(outcome).items()}
    assert states.pop("users") == "failed"
    assert set(states.values()) == {"vacuumed"}


def test_what_the_role_may_not_is_skipped_and_named(server, database, vacuum):
    with server.connect(database) as admin:
        admin.execute(f"ALTER DATABASE {database} OWNER TO postgres; ALTER TABLE users OWNER TO postgres")
    outcome = vacuum()
    assert outcome.code == 0
    assert f"the role {OWNER} may not vacuum users; skipped" in outcome.err
    assert rows(outcome)["users"]["state"] == "skipped"
    assert vacuum("users").code == 1


def test_a_role_that_may_vacuum_nothing_is_told_so(database, use, iacalls):
    use(database, READER)
    outcome = iacalls("maintain", "vacuum")
    assert outcome.code == 1
    assert f"the role {READER} may vacuum none of 9 tables" in outcome.error


@pytest.mark.postgres(">= 17")
def test_the_right_to_maintain_is_enough(server, database, use, iacalls):
    with server.connect(database, OWNER) as owner:
        owner.execute(f"GRANT MAINTAIN ON clients TO {READER}")
    use(database, READER)
    assert iacalls("maintain", "vacuum", "clients").code == 0
    assert iacalls("maintain", "analyze", "clients").code == 0
    assert iacalls("maintain", "reindex", "clients").code == 0


@pytest.mark.parametrize("name", ["", "otra"])
def test_full_asks_for_the_name(database, connection, dead, vacuum, name):
    outcome = vacuum(dead, "--full", *(["--confirm", name] if name else []))
    assert outcome.code == 2
    assert database in outcome.error
    assert "locked (ACCESS EXCLUSIVE)" in outcome.err
    assert "room needed on the server's disk: up to 1." in outcome.err
    assert "a guess" in outcome.err
    assert measured(connection, dead).dead_rows == 3000


def test_full_rewrites_the_smallest_first(database, connection, dead, vacuum):
    outcome = vacuum(dead, "users", "--full", "--confirm", database)
    assert outcome.code == 0, outcome.err
    assert [row["table"] for row in outcome.json["data"]] == ["users", dead]
    assert rows(outcome)[dead]["size_after"] < rows(outcome)[dead]["size_before"] / 2


def test_full_at_a_terminal(server, database, dead):
    code, screen = run_terminal(
        "maintain", "vacuum", dead, "--full", answers=[("Type", f"{database}\n")], env=environment(server, database)
    )
    assert code == 0
    assert "cannot be known from here" in screen  # over TCP
    assert dead in screen
    code, screen = run_terminal("maintain", "vacuum", answers=[("y/N", "n\n")], env=environment(server, database))
    assert code == 0
    assert "nothing was changed" in screen


def test_full_refuses_without_room(server, database, dead, iacalls, monkeypatch):
    """Where the server's disk can be looked at, as through its socket."""
    monkeypatch.setenv("IACALLS_DSN", server.socket_dsn(database))
    monkeypatch.setattr(
        "iacalls_cli.operations.maintain.vacuum_full.shutil.disk_usage", lambda _: SimpleNamespace(free=1_000_000)
    )
    outcome = iacalls("maintain", "vacuum", dead, "--full", "--dry-run")
    assert outcome.code == 1
    assert "and the server's disk has 976.6 kB free" in outcome.error


def test_full_waits_for_its_lock_no_longer_than_said(server, database, vacuum, hasty):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SELECT count(*) FROM public.call_records")
        with LiveLoad(server, database) as load:
            outcome = vacuum("call_records", "--full", "--confirm", database)
    assert outcome.code == 1
    assert "locked by session" in outcome.error
    load.check(longest=2)


def test_options_that_contradict_each_other(vacuum):
    assert "contradict" in vacuum("--full", "--jobs", "2").error
