"""Behind a connection pooler: refused before anything is set, or nothing is left behind."""

import os
import signal
import time

import pytest

from iacalls_cli.config.target import Target
from iacalls_cli.database.connection import open_session
from iacalls_cli.errors import DatabaseError
from tests.support.command_line import run_process, start_process
from tests.support.old_rows import add_old_rows
from tests.support.pgbouncer import open_pooler
from tests.support.servers import OWNER

COMMANDS = {
    "db tables": 0, "db verify": 0, "db describe users": 0, "db diagram": 0, "report stats": 0, "report groups": 0,
    "report check": 0, "monitor sizes": 0, "monitor indexes": 0, "monitor connections": 0, "users list": 0,
    "users set-password admin --password-stdin": 0, "maintain cleanup --yes": 0, "maintain undo newest --yes": 0,
    "maintain analyze --all": 0, "maintain vacuum": 0, "maintain reindex users": 0, "db init": 1,
}  # fmt: skip
PROFILE = '[profiles.pooled]\ndsn = "{}"\npooler = "session"\n'


@pytest.fixture(scope="module", params=["transaction", "statement", "session"])
def pooler(request, server):
    with open_pooler(server, request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def session_pooler(server):
    """In session mode, without a reset of its own: what a client leaves, the next one has."""
    with open_pooler(server, "session", size=2) as opened:
        yield opened


def state_of(connection):
    """Everything of a session that could outlive the client that had it."""
    settings = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
    count = "SELECT count(*) FROM "
    left = {
        what: connection.execute(statement).fetchone()[0]
        for what, statement in {
            "locks": count + "pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'",
            "tables": count + "pg_class WHERE relpersistence = 't'",
            "statements": count + "pg_prepared_statements",
            "cursors": count + "pg_cursors WHERE is_holdable",
            "channels": count + "pg_listening_channels()",
            "role": "SELECT current_user",
        }.items()
    }
    return {**settings, **left}


def sessions_of(pooler, database, size=2):
    """The state of all sessions of a pool, by their numbers."""
    sessions = [pooler.connect(database) for _ in range(size)]
    states = {
        application.execute("SELECT pg_backend_pid()").fetchone()[0]: state_of(application) for application in sessions
    }
    for application in sessions:
        insert_as_application(application)
        application.close()
    return states


def insert_as_application(connection):
    """What the application does all day, by the bare names of its tables."""
    connection.execute("INSERT INTO groups (name) VALUES (gen_random_uuid()::text)")


def test_every_command_is_refused_and_the_session_is_unchanged(pooler, database, iacalls, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", pooler.dsn(database))
    with pooler.connect(database) as application:
        before = state_of(application)
        process = application.execute("SELECT pg_backend_pid()").fetchone()
    for command in [*COMMANDS, "backup create", "db shell"]:
        outcome = iacalls(*command.split(), stdin="Contraseña-1\n")
        assert outcome.code == 3, command
        assert "behind a connection pooler" in outcome.error
        assert 'pooler = "session"' in outcome.error
        with pooler.connect(database) as application:
            assert application.execute("SELECT pg_backend_pid()").fetchone() == process
            assert state_of(application) == before, command
            insert_as_application(application)


@pytest.mark.parametrize("source", ["PG variables", "profile", "--dsn", "service"])
def test_every_way_to_name_the_target_is_looked_at(pooler, database, iacalls, monkeypatch, configure, tmp_path, source):
    options = []
    if source == "PG variables":
        for name, value in (("HOST", "127.0.0.1"), ("PORT", pooler.port), ("DATABASE", database), ("USER", OWNER)):
            monkeypatch.setenv(f"PG{name}", str(value))
    elif source == "profile":
        configure(f'[profiles.p]\nhost = "127.0.0.1"\nport = {pooler.port}\ndbname = "{database}"\nuser = "{OWNER}"\n')
        options = ["--profile", "p"]
    elif source == "--dsn":
        options = ["--dsn", f"postgresql://{OWNER}@127.0.0.1:{pooler.port}/{database}"]
    else:
        lines = f"host=127.0.0.1\nport={pooler.port}\ndbname={database}\nuser={OWNER}\n"
        (tmp_path / "services").write_text(f"[calls]\n{lines}")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        options = ["--dsn", "service=calls"]
    outcome = iacalls("users", "list", *options)
    assert outcome.code == 3
    assert "behind a connection pooler" in outcome.error


def test_a_refused_rehearsal_and_restore(pooler, database, iacalls, use, new_backup, monkeypatch, tmp_path):
    use(database)
    made, _ = new_backup()
    monkeypatch.setenv("IACALLS_DSN", pooler.dsn(database))
    for options in (["rehearse", "--dsn", pooler.dsn(database)], ["restore", made.name, "--into", f"{database}_copy"]):
        outcome = iacalls("backup", *options, "--directory", str(made.parent))
        assert outcome.code == 3
        assert "behind a connection pooler" in outcome.error


def test_the_embedded_server_is_not_asked(data_home, iacalls, monkeypatch):
    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("iacalls_cli.database.connection.is_behind_pooler", fail)
    assert iacalls("db", "init", "--dsn", "embedded", "--yes").code == 0


def test_a_direct_connection_keeps_no_prepared_statement(server, database):
    session = open_session(Target("--dsn", dsn=server.dsn(database, OWNER)), "x")
    assert session.connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert not session.is_pooled
    session.close()


def test_behind_a_session_pooler_nothing_outlives_a_command(session_pooler, database, iacalls, configure):
    configure(PROFILE.format(session_pooler.dsn(database)))
    with session_pooler.connect(database) as application:
        application.execute("UPDATE users SET created_at = '2020-01-01'")
        add_old_rows(application, 100)
    before = sessions_of(session_pooler, database)
    processes = set(before)
    for command, code in COMMANDS.items():
        outcome = iacalls(*command.split(), "--profile", "pooled", stdin="Contraseña-1\n")
        assert outcome.code == code, (command, outcome.err)
        after = sessions_of(session_pooler, database)
        # Where a program or a cancelled statement ends in mid-query, PgBouncer ends the server's session.
        assert set(after) == processes or "maintain" in command, command
        assert all(state in before.values() for state in after.values()), command
        processes = set(after)


def test_behind_a_session_pooler_after_an_error(session_pooler, database, iacalls, configure, tmp_path):
    configure(PROFILE.format(session_pooler.dsn(database)) + '[session]\nstatement_timeout = "200ms"\n')
    before = sessions_of(session_pooler, database)
    broken = tmp_path / "broken.sql"
    slow = tmp_path / "slow.sql"
    broken.write_text("-- Broken.\nSELECT g, 1 / (9 - g) FROM generate_series(1, 9) AS g\n")
    slow.write_text("-- Slow.\nSELECT pg_sleep(9)\n")
    for file, said in ((broken, "division by zero"), (slow, "statement timeout")):
        outcome = iacalls("report", "run", str(file), "--profile", "pooled")
        assert outcome.code == 1
        assert said in outcome.error
        assert sessions_of(session_pooler, database) == before


def test_a_session_left_in_a_failed_transaction_is_reset(session_pooler, database):
    before = sessions_of(session_pooler, database)
    target = Target("profile", dsn=session_pooler.dsn(database), pooler="session")
    session = open_session(target, "x", read_only=False)
    session.connection.execute("SELECT pg_advisory_lock(7)")
    session.connection.execute("CREATE TEMP TABLE t AS SELECT 1")
    session.connection.execute("PREPARE p AS SELECT 1")
    session.connection.execute("LISTEN news")
    session.connection.execute("BEGIN")
    with pytest.raises(DatabaseError):
        session.connection.execute("SELECT 1 / 0")
    session.close()
    assert sessions_of(session_pooler, database) == before


def test_a_session_that_cannot_be_reset_is_ended(session_pooler, database, monkeypatch):
    before = sessions_of(session_pooler, database)
    session = open_session(Target("profile", dsn=session_pooler.dsn(database), pooler="session"), "x")
    process = session.connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    monkeypatch.setattr("iacalls_cli.database.poolers.RESET", "SELECT 1 / 0")
    session.close()
    states = sessions_of(session_pooler, database)
    assert process in before
    assert process not in states
    assert all(state in before.values() for state in states.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_behind_a_session_pooler_after_an_interrupt(session_pooler, server, database, configure, tmp_path, number):
    configure(PROFILE.format(session_pooler.dsn(database)))
    before = sessions_of(session_pooler, database)
    (tmp_path / "slow.sql").write_text("-- Slow.\nSELECT pg_sleep(30)\n")
    process = start_process("report", "run", str(tmp_path / "slow.sql"), "--profile", "pooled")
    with server.connect("postgres") as admin:
        until = time.monotonic() + 20
        asleep = "SELECT FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        while not admin.execute(asleep, [database]).rowcount and time.monotonic() < until:
            time.sleep(0.05)
    os.kill(process.pid, number)
    process.communicate()
    assert process.returncode == 130
    states = sessions_of(session_pooler, database)
    assert len(states) == 2
    assert all(state in before.values() for state in states.values())


def test_behind_a_session_pooler_with_sessions_and_programs(server, database, iacalls, configure, backup_folder):
    with open_pooler(server, "session", size=6, server_reset_query="DISCARD ALL") as pooler:
        configure(PROFILE.format(pooler.dsn(database)))
        before = sessions_of(pooler, database, 6)
        folder = ["--directory", str(backup_folder)]
        assert iacalls("backup", "create", *folder, "--profile", "pooled").code == 0
        assert iacalls("maintain", "vacuum", "--jobs", "3", "--profile", "pooled").code == 0
        # Databases cannot be renamed or dropped while the pooler keeps its sessions in them.
        outcome = iacalls("backup", "restore", "newest", "--into", f"{database}_copy", *folder, "--profile", "pooled")
        assert outcome.code == 3
        assert "renaming and dropping databases" in outcome.error
        after = sessions_of(pooler, database, 6).values()
        assert all(state in before.values() for state in after)


def test_a_pooler_not_in_session_mode_though_the_profile_says_so(server, database, iacalls, configure):
    for mode in ("transaction", "statement"):
        with open_pooler(server, mode, size=3) as pooler:
            configure(PROFILE.format(pooler.dsn(database)))
            with pooler.connect(database) as application:
                before = state_of(application)
            outcome = iacalls("users", "list", "--profile", "pooled")
            assert outcome.code == 3
            assert "not in session mode" in outcome.error
            with pooler.connect(database) as application:
                assert state_of(application) == before
                insert_as_application(application)


def test_a_profile_for_a_pooler_works_without_one_too(server, database, iacalls, configure):
    configure(PROFILE.format(server.dsn(database, OWNER)))
    outcome = iacalls("users", "list", "--profile", "pooled", "--verbose")
    assert outcome.code == 0
    assert "pooler in session mode" not in outcome.err


def test_psql_behind_a_session_pooler(session_pooler, database, configure):
    configure(PROFILE.format(session_pooler.dsn(database)))
    outcome = run_process("db", "shell", "--profile", "pooled", stdin="SELECT 'hola', 1;\n")
    assert outcome.code == 0
    assert "hola" in outcome.out


@pytest.mark.parametrize("value", ['"transaction"', '"statement"', '""', "true"])
def test_only_session_mode_can_be_configured(iacalls, configure, value):
    configure(f'[profiles.p]\nhost = "h"\npooler = {value}\n')
    outcome = iacalls("users", "list", "--profile", "p")
    assert outcome.code == 2
    assert "profiles.p.pooler" in outcome.error


def test_a_profile_of_a_pooler_alone_is_none(iacalls, configure):
    configure('[profiles.p]\npooler = "session"\n')
    outcome = iacalls("users", "list", "--profile", "p")
    assert outcome.code == 2
    assert "needs either dsn or keywords" in outcome.error


def test_options_that_a_pooler_refuses_are_named(session_pooler, database, iacalls, configure, monkeypatch):
    """PgBouncer knows no options at the connection; so our client programs send none through a pooler."""
    configure(PROFILE.format(session_pooler.dsn(database)))
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=7MB")
    outcome = iacalls("users", "list", "--profile", "pooled")
    if outcome.code != 0:  # from version 1.20 on it can be told to accept them
        assert outcome.code == 3
        assert "a connection pooler refuses this setting (PGOPTIONS" in outcome.error


def test_a_pooler_that_is_full_is_no_wrong_password(server, database, iacalls, monkeypatch):
    with open_pooler(server, "session", max_client_conn=2) as pooler:
        monkeypatch.setenv("IACALLS_DSN", pooler.dsn(database))
        with pooler.connect(database), pooler.connect(database):
            outcome = iacalls("users", "list")
    assert outcome.code == 3
    assert "too many sessions are open" in outcome.error
