"""`iacalls backup restore --replace` and `undo`: one database in another's place, whole either way."""

import contextlib
import importlib
import os
import random
import re
import signal
import threading
import time

import psycopg
import pytest
from psycopg import sql

from iacalls_cli.database.connection import Limits
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import ConnectionFailed
from tests.support.command_line import run_process, run_terminal, start_process
from tests.support.nasty_database import hashes
from tests.support.servers import (
    OWNER,
    READER,
    STRANGER,
    TestServer,
    local_bundle,
    make_private_server,
    remove_private_server,
    server_kind,
)

ROWS = 3000


@pytest.fixture
def live(server):
    """A small database of the owner role, and whatever comes to be beside it."""
    name = server.create_database()
    with server.connect(name, OWNER) as connection:
        connection.execute(
            "CREATE TABLE public.calls (id serial PRIMARY KEY, note text, updated_at timestamp DEFAULT now())"
        )
        connection.execute("CREATE TABLE public.loose (a text); INSERT INTO public.loose VALUES ('x')")
        connection.execute(f"INSERT INTO public.calls (note) SELECT md5(n::text) FROM generate_series(1, {ROWS}) AS n")
        connection.execute("CREATE INDEX ON public.calls (note)")
    yield name
    for other in family(server, name):
        server.drop_database(other)


@pytest.fixture
def backup(live, use, iacalls):
    """A backup of it, which is the target."""
    use(live)
    outcome = iacalls("backup", "create", "-o", "json", "--jobs", "2")
    assert outcome.code == 0, outcome.err
    return outcome.json["data"][0]["id"]


def family(server, name):
    """The database and all whose names begin like it."""
    with server.connect("postgres") as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1", [name])
        return [row[0] for row in found.fetchall()]


def run(server, name, statement, role=OWNER):
    with server.connect(name, role) as connection:
        connection.execute(statement)


def value(server, name, query, role=OWNER):
    with server.connect(name, role) as connection:
        return connection.execute(query).fetchone()[0]


def count(server, name):
    return value(server, name, "SELECT count(*) FROM public.calls")


def replace(iacalls, backup, live, *options):
    outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live, *options)
    assert outcome.code == 0, outcome.err
    return outcome


def test_replaced_kept_and_brought_back(server, live, backup, iacalls):
    run(server, live, "INSERT INTO public.calls (note) VALUES ('new'), ('newer')")
    run(server, live, "UPDATE public.calls SET updated_at = now() + interval '1 day' WHERE id <= 3")
    run(server, live, "CREATE TABLE public.later AS SELECT 1 AS a")
    before = hashes(server, live)
    outcome = replace(iacalls, backup, live, "-o", "json")
    assert f"{live} loses of calls: 2 newer and 3 changed (now 3,002 rows, then 3,000)" in outcome.err
    assert f"{live} loses of later: the whole table, 1 rows" in outcome.err
    assert "loses of loose" not in outcome.err
    assert count(server, live) == ROWS
    kept = [name for name in family(server, live) if name != live]
    assert len(kept) == 1
    assert re.fullmatch(rf"{live}\.before-\d{{8}}T\d{{6}}Z", kept[0])
    assert hashes(server, kept[0]) == before
    run(server, live, "INSERT INTO public.calls (note) VALUES ('after the swap')")
    shown = iacalls("backup", "undo", "--dry-run")
    assert f"{live} loses of calls: 1 newer" in shown.err
    assert count(server, live) == ROWS + 1
    outcome = iacalls("backup", "undo", "--confirm", live)
    assert outcome.code == 0, outcome.err
    assert hashes(server, live) == before
    away = [name for name in family(server, live) if ".undone-" in name]
    assert [count(server, name) for name in away] == [ROWS + 1]
    outcome = iacalls("backup", "undo", "--confirm", live)
    assert outcome.code == 1
    assert "there is no database" in outcome.error


def test_without_the_name_nothing_happens(server, live, backup, iacalls):
    before = hashes(server, live)
    for options, words in (
        ([], f"give --confirm {live}"),
        (["--confirm", "other"], "--confirm says other"),
        (["--yes"], "--confirm"),
    ):
        outcome = iacalls("backup", "restore", backup, "--replace", *options)
        assert outcome.code == 2
        assert words in outcome.error
    plan = iacalls("backup", "restore", backup, "--replace", "--dry-run")
    assert plan.code == 0
    assert f"beside {live}" in plan.err
    assert family(server, live) == [live]
    assert hashes(server, live) == before


def test_a_wrong_name_typed_at_the_terminal_changes_nothing(server, live, backup):
    environment = {"IACALLS_DSN": server.dsn(live, OWNER)}
    code, screen = run_terminal(
        "backup", "restore", backup, "--replace", answers=[("are ended.", "otra\n")], env=environment
    )
    assert code != 0, screen
    assert family(server, live) == [live]


def reconnect(dsn, done, seen):
    """An application that comes back as soon as it is thrown out."""
    while not done.is_set():
        with contextlib.suppress(psycopg.Error), psycopg.connect(dsn, autocommit=True) as connection:
            while not done.is_set():
                connection.execute("SELECT count(*) FROM public.calls")
                seen.append(connection.info.backend_pid)
                time.sleep(0.005)


def test_sessions_of_the_application_are_ended(server, live, backup, iacalls):
    """An idle one, and two that come back over and over."""
    done, seen = threading.Event(), []
    with server.connect(live, OWNER) as idle:
        loops = [threading.Thread(target=reconnect, args=(server.dsn(live, OWNER), done, seen)) for _ in range(2)]
        for loop in loops:
            loop.start()
        try:
            replace(iacalls, backup, live)
            with pytest.raises(ConnectionFailed):
                idle.execute("SELECT 1")
        finally:
            done.set()
            for loop in loops:
                loop.join()
    assert len(set(seen)) >= 2
    assert len(family(server, live)) == 2


def test_a_transaction_that_is_open_is_ended(server, live, backup, iacalls):
    connection = psycopg.connect(server.dsn(live, OWNER))
    connection.execute("INSERT INTO public.calls (note) VALUES ('uncommitted')")
    replace(iacalls, backup, live)
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    connection.close()
    assert count(server, live) == ROWS


def test_a_session_that_cannot_be_ended_is_named_without_changes(server, live, backup, iacalls, monkeypatch):
    monkeypatch.setattr("iacalls_cli.operations.backup.replace.LIMIT_SECONDS", 0.1)
    before = hashes(server, live)
    with psycopg.connect(server.dsn(live), application_name="the boss") as other:
        outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
        assert outcome.code == 1
        assert f"{other.info.backend_pid} of {other.info.user} (the boss)" in outcome.error
        assert "nothing was changed" in outcome.error
        other.execute("SELECT 1")
    assert family(server, live) == [live]
    assert hashes(server, live) == before


def test_a_lock_of_the_application_is_not_waited_for_without_end(server, live, backup, iacalls, monkeypatch):
    monkeypatch.setattr("iacalls_cli.commands.backup.sessions.PATIENT", Limits("0", "100ms"))
    with server.connect(live, OWNER) as other, other.transaction():
        other.execute("LOCK public.calls")
        outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
    assert outcome.code == 1
    assert "lock timeout" in outcome.error
    assert family(server, live) == [live]


SETTINGS = """
SELECT jsonb_build_object('owner', pg_get_userbyid(datdba), 'limit', datconnlimit, 'acl', datacl::text,
       'comment', shobj_description(d.oid, 'pg_database'), 'encoding', encoding, 'collate', datcollate,
       'settings', (SELECT jsonb_object_agg(setrole::text,
           (SELECT array_agg(entry ORDER BY entry) FROM unnest(setconfig) AS entry)) FROM pg_db_role_setting WHERE setdatabase = d.oid))
  FROM pg_database AS d WHERE datname = current_database()
"""


def test_what_belongs_to_the_database_itself_is_taken_over(server, live, backup, use, iacalls):
    name = sql.Identifier(live).as_string()
    with server.connect(live) as connection:
        for statement in (
            f"""ALTER DATABASE {name} SET search_path TO "$user", 'Otro esquema', public""",
            f"ALTER DATABASE {name} SET work_mem = '7MB'",
            f"ALTER DATABASE {name} SET app.motto = 'it''s, \"so\"'",
            f"ALTER DATABASE {name} SET DateStyle TO 'German, DMY'",
            f"ALTER ROLE {READER} IN DATABASE {name} SET search_path TO ''",
            f"ALTER ROLE {READER} IN DATABASE {name} SET statement_timeout = '3s'",
            f"COMMENT ON DATABASE {name} IS 'it''s \"live\"'",
            f"ALTER DATABASE {name} CONNECTION LIMIT 17",
            f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
            f"GRANT CONNECT ON DATABASE {name} TO {READER} WITH GRANT OPTION",
            f"GRANT TEMP ON DATABASE {name} TO {STRANGER}",
        ):
            connection.execute(statement)
    before = value(server, live, SETTINGS, "")
    use(live, "")
    outcome = replace(iacalls, backup, live)
    assert "not taken over" not in outcome.err
    assert value(server, live, SETTINGS, "") == before
    assert count(server, live) == ROWS


def test_a_setting_that_the_owner_may_not_give_is_named(server, live, backup, iacalls):
    run(server, live, sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(sql.Identifier(live)), "")
    outcome = replace(iacalls, backup, live)
    assert "not taken over: ALTER DATABASE" in outcome.err
    assert "log_statement" in outcome.err


def test_who_does_not_own_the_database_is_refused_at_first(server, live, backup, use, iacalls):
    use(live, STRANGER)
    outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
    assert outcome.code == 1
    assert f"the role {STRANGER} may not replace {live}, which belongs to {OWNER}" in outcome.error
    run(server, "postgres", f"ALTER ROLE {OWNER} NOCREATEDB", "")
    use(live)
    try:
        outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
    finally:
        run(server, "postgres", f"ALTER ROLE {OWNER} CREATEDB", "")
    assert outcome.code == 1
    assert f"{OWNER} lacks the right CREATEDB" in outcome.error
    assert family(server, live) == [live]


def test_prepared_transactions_are_named(server, live, backup, iacalls):
    if value(server, live, "SELECT current_setting('max_prepared_transactions')") == "0":
        pytest.skip("this server has no prepared transactions")
    run(server, live, "BEGIN; INSERT INTO public.calls (note) VALUES ('x'); PREPARE TRANSACTION 'p'")
    try:
        outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
    finally:
        run(server, live, "ROLLBACK PREPARED 'p'")
    assert outcome.code == 1
    assert "1 prepared transactions" in outcome.error


def kill_at(server, live, backup, delay, number):
    """Kill a restore after some time; the database of that name is then the old one or the new one, whole."""
    environment = {**os.environ, "IACALLS_DSN": server.dsn(live, OWNER)}
    process = start_process("backup", "restore", backup, "--replace", "--confirm", live, env=environment)
    time.sleep(delay)
    process.send_signal(number)
    process.communicate()
    assert count(server, live) in (ROWS, ROWS + 7)
    kept = [name for name in family(server, live) if ".before-" in name]
    assert {count(server, name) for name in kept} <= {ROWS, ROWS + 7}
    return len(kept)


def kill_often(server, live, backup, delays, numbers):
    run(server, live, "INSERT INTO public.calls (note) SELECT 'new' FROM generate_series(1, 7)")
    for delay, number in zip(delays, numbers, strict=False):
        kill_at(server, live, backup, delay, number)
    environment = {"IACALLS_DSN": server.dsn(live, OWNER)}
    arguments = ("backup", "restore", backup, "--replace", "--confirm", live)
    for _ in range(50):
        # The server may still be making a database for one that was killed.
        outcome = run_process(*arguments, env=environment)
        if "is at work" not in outcome.err:
            break
        time.sleep(0.2)
    assert outcome.code == 0, outcome.err
    assert count(server, live) == ROWS
    assert [name for name in family(server, live) if ".restore-" in name] == []


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_whole(server, live, backup):
    kill_often(server, live, backup, (0.7, 1.0, 1.3, 1.7), (signal.SIGKILL, signal.SIGTERM) * 2)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(server, live, backup):
    chance = random.Random(11)
    delays = [chance.uniform(0.4, 2.6) for _ in range(20)]
    kill_often(server, live, backup, delays, (signal.SIGKILL, signal.SIGTERM) * 10)


OURS = "application_name LIKE 'iacalls/%' AND pid <> pg_backend_pid()"
RESTORING = "iacalls_cli.operations.backup.restore."


def end_ours(server):
    """End all sessions of iacalls, as a restart does."""
    with server.connect("postgres") as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}")
        until = time.monotonic() + 10
        while admin.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}").fetchone() != (0,):
            assert time.monotonic() < until
            time.sleep(0.01)


def once_before(monkeypatch, place, action):
    """Do something before the first call of a function."""
    module, _, name = place.rpartition(".")
    original, calls = getattr(importlib.import_module(module), name), []

    def wrapped(*arguments, **options):
        if not calls:
            calls.append(1)
            action()
        return original(*arguments, **options)

    monkeypatch.setattr(place, wrapped)


@pytest.mark.parametrize(
    "place",
    [RESTORING + "create_extensions", RESTORING + "count_table", "iacalls_cli.commands.backup.replace.compare_live",
     "iacalls_cli.commands.backup.replace.swap"],
)  # fmt: skip
def test_sessions_that_are_ended_in_mid_replace_leave_nothing(server, live, backup, iacalls, monkeypatch, place):
    once_before(monkeypatch, place, lambda: end_ours(server))
    outcome = iacalls("backup", "restore", backup, "--replace", "--confirm", live)
    assert outcome.code == 3
    assert "connection was lost" in outcome.error
    assert family(server, live) == [live]


@pytest.mark.parametrize("options", [("--replace", "--confirm", "{}"), ("--into", "{}_copy")])
def test_a_database_that_stays_after_a_crash_is_named(server, live, backup, iacalls, monkeypatch, options):
    def crash():
        end_ours(server)
        # The server does not come back in time.
        monkeypatch.setattr(RESTORING + "RESTART_TRIES", 0)

    once_before(monkeypatch, RESTORING + "count_table", crash)
    words = [option.format(live) for option in options]
    outcome = iacalls("backup", "restore", backup, *words)
    assert outcome.code == 3
    (left,) = [name for name in family(server, live) if ".restore-" in name]
    assert f"the database {left} could not be dropped: the session was lost" in outcome.error
    assert "the next `iacalls backup restore` of" in outcome.error
    assert iacalls("backup", "restore", backup, *words).code == 0
    assert left not in family(server, live)


@pytest.fixture(scope="module")
def own_server():
    """A server that may be restarted."""
    if server_kind() not in ("embedded", "local"):
        pytest.skip("this server is not ours to restart")
    made, port = make_private_server(local_bundle() if server_kind() == "local" else bundled())
    made.start()
    opened = TestServer({**made.conninfo("postgres"), "host": "127.0.0.1", "port": port})
    opened.create_roles()
    yield made, opened
    remove_private_server(made)


def restart_at_once(made):
    """Restart a server as a crash does: nobody is waited for."""
    pid = int((made.places.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    until = time.monotonic() + 30
    while made._is_alive():
        assert time.monotonic() < until
        time.sleep(0.02)
    made.start()


@pytest.mark.parametrize("options", [("--replace", "--confirm", "{}"), ("--into", "{}_copy")])
def test_a_restart_in_mid_restore_leaves_nothing(own_server, iacalls, monkeypatch, options):
    made, opened = own_server
    name = opened.create_database()
    run(opened, name, f"CREATE TABLE public.calls AS SELECT generate_series(1, {ROWS}) AS id")
    run(opened, "postgres", "CHECKPOINT", "")
    monkeypatch.setenv("IACALLS_DSN", opened.dsn(name, OWNER))
    outcome = iacalls("backup", "create", "-o", "json")
    assert outcome.code == 0, outcome.err
    once_before(monkeypatch, RESTORING + "count_table", lambda: restart_at_once(made))
    outcome = iacalls("backup", "restore", outcome.json["data"][0]["id"], *[option.format(name) for option in options])
    assert outcome.code == 3
    assert "connection was lost" in outcome.error
    assert family(opened, name) == [name]
    assert count(opened, name) == ROWS
