"""Secrets that stand in DSNs, profiles and hooks: in no message, no argument, no log, no other program's environment."""

import base64
import http.server
import json
import threading
from pathlib import Path

import pytest
from psycopg import sql

from iacalls_cli import diagnostics
from iacalls_cli.config.file import load_config
from iacalls_cli.database import programs
from iacalls_cli.errors import UsageError
from iacalls_cli.operations.hooks import JobReport, run_hook
from tests.support.servers import OWNER, PASSWORD, free_port

CANARY = "c4n4ry"
REPORT = JobReport("backup create", "shop", "failure")


@pytest.mark.parametrize(
    "profile",
    [
        f'dsn = "host=h sslpassword={CANARY}"', f'dsn = "postgresql://ana@h/x?sslpassword={CANARY}"', f'sslpassword = "{CANARY}"',
        f'dsn = "postgresql://ana@h/x?ssl%70assword={CANARY}"', f'dsn = "host=h scram_client_key={CANARY}"',
        f'dsn = "host=h oauth_client_secret={CANARY}"', f"dsn = \"host=h options='-c app.password={CANARY}'\"",
        f'options = "-c app.password={CANARY}"', f'dsn = "host=h PASSWORD = {CANARY}"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o600])
def test_a_secret_in_a_profile_that_others_may_read_is_refused(tmp_path, profile, mode):
    file = tmp_path / "config.toml"
    file.write_text(f"[profiles.x]\n{profile}\n")
    file.chmod(mode)
    if mode == 0o600:
        assert load_config([file]).profiles["x"]
        return
    with pytest.raises(UsageError, match="holds a password and others may read it") as caught:
        load_config([file])
    assert CANARY not in caught.value.message + caught.value.hint


def test_what_is_no_secret_may_be_read(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('[profiles.x]\ndsn = "host=h passfile=/etc/passfile sslkey=/etc/key user=password"\n')
    file.chmod(0o644)
    assert load_config([file]).profiles["x"]


@pytest.mark.parametrize(
    "option", ["password={}", "sslpassword={}", "scram_client_key={}", "options='-c app.password={}'"]
)
def test_no_message_repeats_a_secret_of_a_dsn(iacalls, option):
    dsn = f"host=127.0.0.1 port={free_port()} dbname=x {option.format(CANARY)}"
    for command in (("db", "tables"), ("backup", "create"), ("db", "shell"), ("maintain", "vacuum")):
        outcome = iacalls(*command, "--dsn", dsn)
        assert outcome.code in (2, 3)
        assert CANARY not in outcome.out + outcome.err
    assert CANARY not in diagnostics.redact(f"error in {dsn}")


def test_no_secret_is_among_the_arguments_of_a_program(server, database, use, create_backup, monkeypatch):
    """Other users see those, in ps; and application_name, in pg_stat_activity."""
    started = []
    original = programs.start_program

    def start(command, environment=None, **streams):
        started.append((list(command), dict(environment or {})))
        return original(command, environment, **streams)

    monkeypatch.setattr(programs, "start_program", start)
    use(database)
    assert create_backup().code == 0
    dumps = [one for one in started if "pg_dump" in one[0][0]]
    assert dumps
    assert all(PASSWORD not in " ".join(command) for command, _ in started)
    assert all(environment["PGPASSWORD"] == PASSWORD for _, environment in dumps)


@pytest.mark.parametrize("option", ["sslpassword", "scram_client_key", "oauth_client_secret"])
def test_a_secret_that_programs_would_show_is_refused(server, database, create_backup, iacalls, monkeypatch, option):
    dsn = f"{server.dsn(database, OWNER)} {option}={base64.b64encode(CANARY.encode()).decode() * 4}"
    monkeypatch.setenv("IACALLS_DSN", dsn)
    for outcome in (create_backup(), iacalls("db", "shell")):
        assert outcome.code in (2, 3)
        assert CANARY not in outcome.err


URLS = (
    "http://ana:{}@127.0.0.1:{}/x", "http://127.0.0.1:{1}/{0}", "http://127.0.0.1:{1}/ping?token={0}", "http://127.0.0.1:{1}/#{0}",
    "http://ana:{}/x@127.0.0.1:{}/", "http://{}@127.0.0.1:{}/", "http://ana:{} b@127.0.0.1:{}/", "http://127.0.0.1:{1}/ {0}\n",
    "http://[{}]:{}/", "http://no.such.host.invalid/{0}",
)  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_of_a_hooks_url_only_the_host_is_shown(url):
    said = run_hook((url.format(CANARY, free_port()),), REPORT, 5)
    assert said.startswith("the hook http://")
    assert "failed: " in said
    assert CANARY not in said


@pytest.mark.parametrize("status", [404, 500, 302, 301])
def test_an_answer_that_repeats_the_url_is_not_shown(status):
    """And user and password of a URL are sent as they should be, to that host alone."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(status, f"no such {CANARY}")
            self.send_header("Location", f"ftp://127.0.0.1/{CANARY}")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        said = run_hook((f"http://ana:s%40{CANARY}@127.0.0.1:{web.server_port}/{CANARY}",), REPORT, 5)
        web.shutdown()
    assert said.startswith(f"the hook http://127.0.0.1:{web.server_port} failed: ")
    assert CANARY not in said
    token = base64.b64encode(f"ana:s@{CANARY}".encode()).decode()
    assert asked == [(f"/{CANARY}", f"Basic {token}")]


def test_words_behind_a_url_are_an_error_without_the_url(tmp_path, configure, iacalls):
    configure(f"[backup]\non_failure = {json.dumps([f'https://hc.example/{CANARY}', 'more'])}\n")
    outcome = iacalls("backup", "list")
    assert outcome.code == 2
    assert "something behind its URL" in outcome.error
    assert CANARY not in outcome.err


@pytest.fixture
def read_log(server, database):
    """Have everything logged in the database, with parameters; a function reads what was added to the log."""
    log = Path(server.socket_folder).parent / "server.log"
    if not server.socket_folder or not log.exists():
        pytest.skip("this server's log cannot be read from here")
    with server.connect("postgres") as admin:
        for name, value in (("log_statement", "all"), ("log_parameter_max_length", "-1")):
            statement = sql.SQL("ALTER DATABASE {} SET {} = {}")
            admin.execute(statement.format(sql.Identifier(database), sql.SQL(name), sql.Literal(value)))
    begin = log.stat().st_size
    return lambda: log.read_bytes()[begin:].decode(errors="replace")


def test_a_superuser_keeps_hashes_out_of_the_servers_log(server, database, iacalls, read_log):
    outcome = iacalls(
        "users", "set-password", "admin", "--password-stdin", "--dsn", server.dsn(database), stdin="Otra-clave-22\n"
    )
    assert outcome.code == 0, outcome.err
    assert "UPDATE public.users SET password" in read_log()
    assert "$2b$" not in read_log()
    assert "Otra-clave" not in read_log()


@pytest.mark.postgres(">= 15")
def test_so_does_a_role_that_may_set_the_parameter(server, database, iacalls, read_log):
    with server.connect("postgres") as admin:
        admin.execute(f"GRANT SET ON PARAMETER log_parameter_max_length TO {OWNER}")
    try:
        outcome = iacalls(
            "users",
            "set-password",
            "admin",
            "--password-stdin",
            "--dsn",
            server.dsn(database, OWNER),
            stdin="Otra-clave-22\n",
        )
    finally:
        with server.connect("postgres") as admin:
            admin.execute(f"REVOKE SET ON PARAMETER log_parameter_max_length FROM {OWNER}")
    assert outcome.code == 0, outcome.err
    assert "$2b$" not in read_log()


def test_another_role_sets_passwords_without_an_error(server, database, iacalls, read_log):
    """The hash is in the log then, as the documents say; the password is not."""
    outcome = iacalls(
        "users",
        "set-password",
        "admin",
        "--password-stdin",
        "--dsn",
        server.dsn(database, OWNER),
        stdin="Otra-clave-22\n",
    )
    assert outcome.code == 0, outcome.err
    assert "permission denied" not in read_log()
    assert "Otra-clave" not in read_log()


def test_init_keeps_the_hash_out_of_the_servers_log(server, database, empty_database, iacalls, read_log):
    with server.connect("postgres") as admin:
        admin.execute(f"ALTER DATABASE {empty_database} SET log_statement = 'all'")
        admin.execute(f"ALTER DATABASE {empty_database} SET log_parameter_max_length = -1")
    outcome = iacalls(
        "db", "init", "--admin-password-stdin", "--dsn", server.dsn(empty_database), stdin="Otra-clave-22\n"
    )
    assert outcome.code == 0, outcome.err
    assert "INSERT INTO public.users" in read_log()
    assert "$2b$" not in read_log()
