"""`iacalls db init`: a whole database or nothing, never over another one."""

import concurrent.futures
import os
import signal
import time

import bcrypt
import psycopg
import pytest
from psycopg import sql

from iacalls_cli.database.connection import is_loopback
from iacalls_cli.operations.db.verify import verify_database
from iacalls_cli.operations.users import DEFAULT_PASSWORD
from tests.support.command_line import run_process, run_terminal, start_process
from tests.support.servers import OWNER, PASSWORD, READER, STRANGER


@pytest.fixture
def new_name(server):
    name = f'nueva-"ñ"-{time.monotonic_ns()}'
    yield name
    server.drop_database(name)


def databases(server):
    with server.connect("postgres") as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def stored_hash(server, name):
    with server.connect(name, OWNER) as connection:
        return connection.execute("SELECT password FROM users WHERE username = 'admin'").fetchone()[0]


def test_a_missing_database_is_created_whole(server, new_name, use, iacalls):
    use(new_name)
    outcome = iacalls("db", "init", "-o", "json")
    assert outcome.code == 0
    assert outcome.json["data"] == [
        {"database": new_name, "state": "created", "administrator": "admin", "password_from": "documented default"}
    ]
    assert "default password" in outcome.err
    assert "set-password" in outcome.err
    with server.connect(new_name, OWNER) as connection:
        assert verify_database(connection).problems == 0
        row = connection.execute("SELECT username, email, role, is_active FROM users").fetchall()
    assert row == [("admin", "admin@iacalls.com", "admin", True)]
    assert iacalls("db", "verify").code == 0


def test_an_empty_database_is_filled(server, empty_database, use, iacalls):
    use(empty_database)
    assert iacalls("db", "init").code == 0
    assert stored_hash(server, empty_database).startswith("$2b$12$")
    assert bcrypt.checkpw(DEFAULT_PASSWORD.encode(), stored_hash(server, empty_database).encode())


def test_a_filled_database_is_not_touched(server, filled_database, use, iacalls):
    use(filled_database)
    before = stored_hash(server, filled_database)
    outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "already holds 12 tables or views (batch_calls, call_records" in outcome.error
    assert "nothing was changed" in outcome.error
    assert "db verify" in outcome.error
    assert stored_hash(server, filled_database) == before


@pytest.mark.parametrize("statement", ["CREATE TABLE other (id int)", "CREATE SEQUENCE other", "CREATE VIEW other AS SELECT 1",
                                       "CREATE SCHEMA x CREATE TABLE other (id int)"])  # fmt: skip
def test_anything_else_in_the_database_is_respected(server, empty_database, use, iacalls, statement):
    with server.connect(empty_database, OWNER) as connection:
        connection.execute(statement)
    use(empty_database)
    outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "other" in outcome.error
    with server.connect(empty_database, OWNER) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)


def test_an_extension_is_not_in_the_way(server, empty_database, use, iacalls):
    with server.connect(empty_database) as connection:
        available = connection.execute(
            "SELECT 1 FROM pg_available_extensions WHERE name = 'pg_stat_statements'"
        ).fetchone()
        if not available:
            pytest.skip("the server has no contrib extensions")
        connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA public")
    use(empty_database)
    assert iacalls("db", "init").code == 0


def test_dry_run_changes_nothing(server, new_name, empty_database, use, iacalls):
    use(new_name)
    outcome = iacalls("db", "init", "--dry-run")
    assert outcome.code == 0
    assert f"create the database {new_name}" in outcome.err
    assert new_name not in databases(server)
    use(empty_database)
    assert iacalls("db", "init", "--dry-run", "-o", "json").json["data"][0]["state"] == "planned"
    with server.connect(empty_database, OWNER) as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone() == (0,)


def test_a_password_from_stdin(server, empty_database, use, iacalls):
    use(empty_database)
    outcome = iacalls("db", "init", "--admin-password-stdin", stdin="contraseña ñ\n")
    assert outcome.code == 0
    assert "contraseña" not in outcome.out + outcome.err
    assert bcrypt.checkpw("contraseña ñ".encode(), stored_hash(server, empty_database).encode())


def test_a_generated_password_is_printed_once(server, empty_database, use, iacalls):
    use(empty_database)
    outcome = iacalls("db", "init", "--generate-admin-password", "-o", "json")
    password = outcome.json["data"][0]["password"]
    assert len(password) >= 16
    assert password not in outcome.err
    assert bcrypt.checkpw(password.encode(), stored_hash(server, empty_database).encode())


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (DEFAULT_PASSWORD, "documented default"),
        ("ñ" * 37, "74 bytes"),
        ("a\0b", "NUL byte"),
    ],
)
def test_an_unusable_password_is_refused_before_anything(server, empty_database, use, iacalls, password, message):
    use(empty_database)
    outcome = iacalls("db", "init", "--admin-password-stdin", stdin=password + "\n")
    assert outcome.code == 2
    assert message in outcome.error
    with server.connect(empty_database, OWNER) as connection:
        assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)


def test_the_default_password_is_refused_elsewhere(server, empty_database, iacalls, monkeypatch):
    """Elsewhere is every way in but the embedded server and a loopback address: a socket may be a proxy's."""
    monkeypatch.setenv("IACALLS_DSN", server.socket_dsn(empty_database, OWNER))
    outcome = iacalls("db", "init")
    assert outcome.code == 2
    assert "--allow-default-password" in outcome.error
    assert iacalls("db", "init", "--allow-default-password").code == 0


@pytest.mark.parametrize(("address", "near"), [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::1%lo", True),
                                               ("10.0.0.1", False), ("", False), ("fe80::1%eth0", False)])  # fmt: skip
def test_loopback_addresses(address, near):
    assert is_loopback(address) is near


def test_contradicting_options(empty_database, use, iacalls):
    use(empty_database)
    assert "contradict" in iacalls("db", "init", "--admin-password-stdin", "--generate-admin-password").error


def test_two_at_once_one_wins(server, new_name):
    environment = {"IACALLS_DSN": server.dsn(new_name, OWNER)}
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: run_process("db", "init", env=environment), range(3)))
    assert sorted(outcome.code for outcome in outcomes) == [0, 1, 1]
    losers = [outcome.error for outcome in outcomes if outcome.code == 1]
    assert all("nothing was changed" in error for error in losers)
    with server.connect(new_name, OWNER) as connection:
        assert verify_database(connection).problems == 0


def test_another_init_at_work_is_named(server, empty_database, use, iacalls):
    use(empty_database)
    with server.connect(empty_database, OWNER) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('iacalls db init', 0))")
        outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "another `iacalls db init` is at work" in outcome.error


@pytest.mark.parametrize("creates", [True, False])
def test_a_failure_half_way_leaves_nothing(server, new_name, empty_database, use, iacalls, monkeypatch, creates):
    name = new_name if creates else empty_database
    monkeypatch.setattr(
        "iacalls_cli.operations.db.init.load_schema", lambda: "CREATE TABLE public.users (id int); SELECT 1/0;"
    )
    use(name)
    outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "division by zero" in outcome.error
    if creates:
        assert not [database for database in databases(server) if database.startswith(new_name)]
    else:
        with server.connect(name, OWNER) as connection:
            assert connection.execute("SELECT to_regclass('users')").fetchone() == (None,)


@pytest.mark.parametrize("delay", [0.35, 0.5, 0.65, 0.8])
def test_kill_9_leaves_no_half_of_it(server, new_name, delay):
    environment = {"IACALLS_DSN": server.dsn(new_name, OWNER)}
    process = start_process("db", "init", env={**os.environ, **environment})
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if new_name in databases(server):
        with server.connect(new_name, OWNER) as connection:
            assert verify_database(connection).problems == 0
    again = run_process("db", "init", env=environment)
    assert again.code == 0 or "already holds 12 tables" in again.error
    with server.connect(new_name, OWNER) as connection:
        assert verify_database(connection).problems == 0


def test_what_a_killed_init_left_is_removed_by_the_next(server, new_name, use, iacalls):
    gone, busy, kept = (f"{new_name}.init-{ending}" for ending in ("0123abcd", "4567abcd", "else"))
    with server.connect("postgres", OWNER) as connection:
        for name in (gone, busy, kept):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    use(new_name)
    with server.connect(busy):
        assert iacalls("db", "init").code == 0
    left = databases(server)
    assert gone not in left
    assert {busy, kept} <= left
    for name in (busy, kept):
        server.drop_database(name)


def test_an_init_at_work_keeps_its_unfinished_database(server, new_name, use, iacalls):
    """Also in the moments when no session is in it."""
    unfinished = f"{new_name}.init-0123abcd"
    use(new_name)
    with server.connect("postgres", OWNER) as other:
        other.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"iacalls db init {new_name}.init-"])
        outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "another `iacalls db init` is at work" in outcome.error
    assert unfinished in databases(server)
    server.drop_database(unfinished)


def test_a_role_without_createdb_is_told_so(server, new_name, use, iacalls):
    use(new_name, READER)
    outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert f"the role {READER} lacks the right CREATEDB" in outcome.error
    assert "ALTER ROLE" in outcome.error


def test_a_role_that_may_not_create_tables_is_told_so(server, empty_database, use, iacalls):
    with server.connect(empty_database) as admin:
        admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    use(empty_database, STRANGER)
    outcome = iacalls("db", "init")
    assert outcome.code == 1
    assert "lacks the right CREATE on schema public" in outcome.error
    assert f"GRANT CREATE ON SCHEMA public TO {STRANGER}" in outcome.error


def test_a_wrong_password_is_not_taken_for_a_missing_database(server, use, iacalls, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", server.dsn("nueva", OWNER).replace(PASSWORD, "falsch"))
    outcome = iacalls("db", "init")
    assert outcome.code == 3
    assert "authentication failed" in outcome.error


def test_asks_at_a_terminal(server, new_name):
    environment = {"IACALLS_DSN": server.dsn(new_name, OWNER)}
    code, screen = run_terminal("db", "init", answers=[("Go on? [y/N] ", "n\n")], env=environment)
    assert code == 0
    assert "nothing was changed" in screen
    assert new_name not in databases(server)
    code, _ = run_terminal("db", "init", answers=[("Go on? [y/N] ", "sí\n")], env=environment)
    assert code == 0
    assert new_name in databases(server)


def test_ctrl_c_at_the_question_changes_nothing(server, new_name):
    environment = {"IACALLS_DSN": server.dsn(new_name, OWNER)}
    code, _ = run_terminal("db", "init", answers=[("Go on? [y/N] ", "\x03")], env=environment)
    assert code == 130
    assert new_name not in databases(server)


def test_a_typed_password_serves_all_sessions(server, new_name):
    environment = {"IACALLS_DSN": server.dsn(new_name, OWNER).replace(f"password={PASSWORD}", "")}
    answers = [("Password for ", f"{PASSWORD}\n"), ("Go on? [y/N] ", "y\n")]
    code, screen = run_terminal("db", "init", answers=answers, env=environment)
    assert code == 0, screen
    assert screen.count("Password for ") == 1
    assert new_name in databases(server)


def test_a_target_without_a_database_is_refused(server, iacalls, monkeypatch):
    """libpq would take the user's name for one."""
    keywords = {key: value for key, value in server.keywords("x").items() if key != "dbname"}
    outcome = iacalls("db", "init", "--dsn", psycopg.conninfo.make_conninfo(**keywords))
    assert outcome.code == 2
    assert "names no database" in outcome.error


@pytest.mark.parametrize("name", ["postgres", "template1"])
def test_the_servers_own_databases_are_no_place(server, use, iacalls, name):
    use(name)
    outcome = iacalls("db", "init")
    assert outcome.code == 2
    assert f"names the database {name}" in outcome.error


def test_asks_for_the_password_twice_without_echo(server, empty_database):
    environment = {"IACALLS_DSN": server.socket_dsn(empty_database, OWNER)}
    prompts = ["administrator admin: ", "The same again: "]
    differing = [(prompts[0], "Secreta-1\n"), (prompts[1], "Secreta-2\n")]
    code, screen = run_terminal("db", "init", answers=differing, env=environment)
    assert code == 2
    assert "differ" in screen
    same = [(prompts[0], "Secreta-ñ\n"), (prompts[1], "Secreta-ñ\n"), ("Go on? [y/N] ", "y\n")]
    code, screen = run_terminal("db", "init", answers=same, env=environment)
    assert code == 0
    assert "Secreta" not in screen
    assert bcrypt.checkpw("Secreta-ñ".encode(), stored_hash(server, empty_database).encode())


@pytest.mark.postgres("< 15")
def test_before_15_everyone_may_create_in_public(empty_database, use, iacalls):
    use(empty_database, STRANGER)
    assert iacalls("db", "init").code == 0
