"""Sessions: their settings, how they fail, and what of that is said."""

import socket
import threading
import time

import psycopg
import pytest

from iacalls_cli.config.target import Target
from iacalls_cli.database.connection import MONITORING, open_session, require_primary
from iacalls_cli.database.failures import database_errors
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import ConnectionFailed, DatabaseError, UsageError
from tests.support.command_line import run_terminal
from tests.support.servers import (
    OWNER,
    PASSWORD,
    READER,
    STRANGER,
    SUPERUSER,
    free_port,
    local_bundle,
    make_private_server,
    remove_private_server,
    server_kind,
)


def target(dsn):
    return Target("--dsn", dsn=dsn)


@pytest.fixture
def open_target(server, database):
    opened = []

    def open_it(role=OWNER, **options):
        opened.append(open_session(target(server.dsn(database, role)), "db test", **options))
        return opened[-1]

    yield open_it
    for session in opened:
        session.connection.close()


def setting(session, name):
    return session.connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0]


def test_settings_of_every_session(open_target):
    session = open_target()
    assert setting(session, "application_name") == "iacalls/db test"
    assert setting(session, "TimeZone") == "UTC"
    assert setting(session, "search_path") == "pg_catalog, pg_temp"
    assert setting(session, "client_encoding") == "UTF8"
    assert setting(session, "statement_timeout") == "15min"
    assert setting(session, "lock_timeout") == "2s"
    assert setting(session, "default_transaction_read_only") == "on"


def test_monitoring_limits_itself(open_target):
    session = open_target(limits=MONITORING)
    assert (setting(session, "statement_timeout"), setting(session, "lock_timeout")) == ("5s", "50ms")


def test_a_temporary_table_cannot_stand_in_for_a_real_one(open_target):
    session = open_target(read_only=False)
    session.connection.execute("CREATE TEMP TABLE pg_database (id int)")
    assert session.connection.execute("SELECT count(*) > 2 FROM pg_database").fetchone() == (True,)


def test_a_reading_session_cannot_write(open_target):
    with pytest.raises(DatabaseError, match="read-only") as caught, database_errors():
        open_target().connection.execute("DELETE FROM public.users")
    assert "read-only" in caught.value.hint


FAILURES = {
    "refused": (lambda s: f"host=127.0.0.1 port={free_port()} dbname=x", "refused"),
    "no socket": (lambda s: "host=/nonexistent dbname=x", "No such file"),
    "no host": (lambda s: "host=nowhere.invalid dbname=x", "nowhere.invalid"),
    "wrong password": (lambda s: s.dsn("postgres", OWNER).replace(PASSWORD, "wr0ng"), "password authentication failed"),
    "no password": (lambda s: s.dsn("postgres", OWNER).replace(f"password={PASSWORD}", ""), "asks for a password"),
    "no database": (lambda s: s.dsn("nichts", OWNER), 'database "nichts" does not exist'),
    "no role": (lambda s: s.dsn("postgres", OWNER).replace(OWNER, "nobody_here"), "authentication failed"),
    "no service": (lambda s: "service=nowhere", "definition of service"),
    "bad sslmode": (lambda s: "host=127.0.0.1 sslmode=maybe", "sslmode"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_connection_says_why(server, name):
    make, reason = FAILURES[name]
    with pytest.raises(ConnectionFailed) as caught:
        open_session(target(make(server)), "x")
    error = caught.value
    assert reason in error.message
    assert error.hint
    assert PASSWORD not in error.message + error.hint
    assert "wr0ng" not in error.message + error.hint
    assert "\n" not in error.message


def test_a_missing_database_is_told_from_a_missing_role(server):
    with pytest.raises(ConnectionFailed) as caught:
        open_session(target(server.dsn("nichts", OWNER)), "x")
    assert "iacalls db init" in caught.value.hint


@pytest.mark.parametrize(
    "dsn",
    ["postgresql://ana:p@ss/w0rd@db.invalid/x", "postgresql://ana:pass/w0rd@db.invalid/x", "postgresql://ana:p:w0rd@x@db/y",
     "host=h password='w0rd", "postgresql://ana:w0rd@db/x?schema=public", "postgresql://ana:%zzw0rd@db/x", "ana w0rd@"],
)  # fmt: skip
def test_an_unreadable_dsn_is_not_repeated(dsn):
    with pytest.raises((UsageError, ConnectionFailed)) as caught:
        open_session(target(dsn), "x")
    said = caught.value.message + caught.value.hint
    assert "w0rd" not in said
    assert "pass/" not in said


def test_a_url_of_another_tool_is_explained():
    with pytest.raises(UsageError, match='invalid URI query parameter: "schema"'):
        open_session(target("postgresql://db.example:5432/x?schema=public"), "x")


def test_a_server_that_never_answers_is_given_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="timeout"):
            open_session(target(f"host=127.0.0.1 port={silent.getsockname()[1]} connect_timeout=2"), "x")
        assert time.monotonic() - began < 10


def test_a_server_without_tls_is_never_used_unencrypted(server, database):
    with pytest.raises(ConnectionFailed, match="SSL") as caught:
        open_session(target(server.dsn(database, OWNER) + " sslmode=require"), "x")
    assert "never falls back" in caught.value.hint


def without_password(dsn):
    return dsn.replace(f"password={PASSWORD}", "")


def test_a_password_is_asked_for_at_a_terminal(server, database):
    environment = {"IACALLS_DSN": without_password(server.dsn(database, OWNER))}
    code, screen = run_terminal("users", "list", answers=[("Password for ", f"{PASSWORD}\n")], env=environment)
    assert code == 0
    assert f"Password for {database} on " in screen
    assert PASSWORD not in screen
    code, screen = run_terminal("users", "list", answers=[("Password for ", "falsa\n")], env=environment)
    assert code == 3
    assert "password authentication failed" in screen


def test_without_a_terminal_no_password_is_asked_for(server, database, iacalls, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", without_password(server.dsn(database, OWNER)))
    outcome = iacalls("users", "list")
    assert outcome.code == 3
    assert "asks for a password and none was given" in outcome.error


def test_a_password_in_the_dsn_is_warned_of(open_target):
    assert "ps" in open_target().warnings[0]


def test_a_session_ended_by_an_administrator(server, open_target):
    session = open_target()
    with server.connect("postgres") as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [session.connection.info.backend_pid])
    with pytest.raises(ConnectionFailed, match="connection was lost"), database_errors():
        session.connection.execute("SELECT 1")


def test_a_session_ended_in_mid_query(server, open_target):
    session = open_target()

    def end():
        time.sleep(0.5)
        with server.connect("postgres") as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", [session.connection.info.backend_pid])

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(ConnectionFailed, match="connection was lost"), database_errors():
        session.connection.execute("SELECT pg_sleep(20)")
    thread.join()


@pytest.mark.parametrize(
    ("statement", "message", "hint"),
    [
        ("SELECT * FROM nothing", 'relation "nothing" does not exist (line 1 of the SQL)', "db verify"),
        (
            "SELECT 1,\n nothing\nFROM public.users",
            'column "nothing" does not exist (line 2 of the SQL)',
            "db describe",
        ),
        ("SELEC 1", "syntax error", "correct the SQL"),
        ("SELECT nothing(1)", "function nothing(integer) does not exist", "db verify"),
        ("SELECT 1/0", "division by zero", ""),
        ("SELECT pg_sleep(9)", "statement timeout", "statement_timeout"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(open_target, statement, message, hint):
    session = open_target()
    session.connection.execute("SET statement_timeout = '100ms'")
    with pytest.raises(DatabaseError) as caught, database_errors():
        session.connection.execute(statement)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.sqlstate


def test_a_missing_right_is_named(open_target):
    with pytest.raises(DatabaseError, match="permission denied for table users") as caught, database_errors():
        open_target(STRANGER).connection.execute("SELECT * FROM public.users")
    assert "grant" in caught.value.hint


def test_a_lock_is_not_waited_for_long(server, database, open_target):
    session = open_target(READER, limits=MONITORING)
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match="lock timeout") as caught, database_errors():
            session.connection.execute("SELECT * FROM public.users")
    assert "monitor connections" in caught.value.hint


def test_text_that_is_not_utf8_is_one_error(server):
    name = f"ascii_{time.monotonic_ns()}"
    with server.connect("postgres") as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        try:
            session = open_session(target(server.dsn(name)), "x")
            with session.connection, pytest.raises(DatabaseError, match="0xf1") as caught, database_errors():
                session.connection.execute("SELECT convert_from('\\xf1'::bytea, 'SQL_ASCII')").fetchall()
            assert "encode()" in caught.value.hint
        finally:
            admin.execute(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def replica():
    """A server in recovery: a standby without a primary, which is read-only for ever."""
    server, port = make_private_server(local_bundle() if server_kind() == "local" else bundled())
    server.start()
    server.stop()
    signal = server.places.data / "standby.signal"
    signal.touch()
    server.account.give(signal)
    server.start()
    yield {**server.conninfo("postgres"), "host": "127.0.0.1", "port": port}
    remove_private_server(server)


def test_a_replica_takes_no_writes(replica):
    session = open_session(Target("--dsn", keywords=replica), "x", read_only=False)
    with session.connection, pytest.raises(DatabaseError, match="replica") as caught:
        require_primary(session)
    assert "primary" in caught.value.hint


@pytest.mark.parametrize(
    "command",
    [
        ("db", "init", "--allow-default-password"),
        ("users", "set-password", "admin", "--password-stdin"),
        ("maintain", "vacuum"),
        ("maintain", "analyze"),
        ("maintain", "reindex"),
    ],
)
def test_writing_commands_refuse_a_replica(replica, iacalls, monkeypatch, command):
    database = "iacalls_db" if command[1] == "init" else "postgres"
    monkeypatch.setenv("IACALLS_DSN", psycopg.conninfo.make_conninfo(**{**replica, "dbname": database}))
    outcome = iacalls(*command, stdin="Contraseña nueva\n")
    assert outcome.code == 1
    assert "replica" in outcome.error


def test_reading_commands_work_on_a_replica(replica, iacalls, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", psycopg.conninfo.make_conninfo(**replica))
    assert iacalls("db", "tables").code == 0
    assert iacalls("monitor", "connections").code == 0
    assert iacalls("db", "verify").code == 4


@pytest.fixture
def service(server, tmp_path, monkeypatch):
    """A service file that leads to a database of the server under test."""

    def write(name, **more):
        keywords = {**psycopg.conninfo.conninfo_to_dict(server.dsn(name, OWNER)), **more}
        lines = "\n".join(f"{key}={value}" for key, value in keywords.items())
        (tmp_path / "services").write_text(f"[iacalls]\n{lines}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        return "service=iacalls"

    return write


def test_a_service_names_the_target(service, database, iacalls):
    outcome = iacalls("users", "list", "--dsn", service(database))
    assert outcome.code == 0
    assert f"target: {database} on " in outcome.err


def test_init_makes_the_database_that_a_service_names(service, server, database, iacalls):
    outcome = iacalls("db", "init", "--dsn", service(database))
    assert outcome.code == 1
    assert f"the database {database} already holds" in outcome.error
    missing = f"{database}_new"
    try:
        assert iacalls("db", "init", "--dsn", service(missing), "-o", "json").json["data"][0]["database"] == missing
        with server.connect(missing, OWNER) as connection:
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (1,)
    finally:
        server.drop_database(missing)


def test_the_environments_address_does_not_redirect_a_named_host(server, database, iacalls, monkeypatch):
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    code = iacalls("users", "list", "--dsn", server.dsn(database, OWNER)).code
    monkeypatch.delenv("PGHOSTADDR")
    assert code == 0


@pytest.mark.parametrize("through", ["environment", "service"])
def test_a_time_limit_for_connecting_is_kept(service, monkeypatch, through):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        dsn = f"host=127.0.0.1 port={port}"
        if through == "service":
            dsn = service("x", host="127.0.0.1", port=port, connect_timeout=2)
        else:
            monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
        began = time.monotonic()
        with pytest.raises(ConnectionFailed, match="timeout"):
            open_session(target(dsn), "x")
        assert time.monotonic() - began < 8


HOSTILE = (
    ("*", "numeric, bigint", "numeric"),
    ("||", "name, name", "text"),
    ("=", "varchar, text", "boolean"),
    ("=", "varchar, varchar", "boolean"),
    ("=", "name, text", "boolean"),
)


@pytest.mark.parametrize(
    "command",
    ["monitor sizes", "monitor indexes --table users", "monitor connections", "db verify", "db tables", "db describe users",
     "db diagram", "users list --role admin", "report groups --status none", "report calls", "report stats",
     "report client-history 1", "report batch-statistics", "users set-password admin --password-stdin"],
)  # fmt: skip
def test_an_operator_that_somebody_put_into_public_is_not_run(server, filled_database, use, iacalls, command):
    """CVE-2018-1058: it would run with the rights of who looks at the database."""
    with server.connect(filled_database) as connection:
        for number, (operator, types, result) in enumerate(HOSTILE):
            left, right = types.split(", ")
            name = f"trap_{number}"
            connection.execute(
                f"CREATE FUNCTION public.{name}(a {left}, b {right}) RETURNS {result} LANGUAGE plpgsql AS "
                f"$$BEGIN RAISE EXCEPTION 'trapped'; END$$"
            )
            connection.execute(
                f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.{name})"
            )
    use(filled_database, SUPERUSER)
    outcome = iacalls(*command.split(), stdin="Contraseña-1\n")
    assert "trapped" not in outcome.err
    assert outcome.code in (0, 4)
