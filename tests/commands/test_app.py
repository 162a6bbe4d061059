"""The command line as a whole: start-up, help, errors, exit codes, the environment."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iacalls_cli import __version__, diagnostics
from iacalls_cli.app import run
from iacalls_cli.errors import ExitCode, IacallsError
from tests.support import ROOT
from tests.support.cli_reference import reference, walk
from tests.support.command_line import run_process, run_terminal, running_process, start_process
from tests.support.servers import OWNER, free_port

HEAVY = ("psycopg", "rich", "bcrypt", "psutil", "platformdirs", "tomllib", "pydantic")
# Every command that connects, with the arguments it cannot do without.
CONNECTING = {
    "db init": ["--allow-default-password"], "db verify": [], "db tables": [], "db describe": ["users"], "db diagram": [], "db shell": [],
    "report groups": [], "report calls": [], "report whatsapp": [], "report stats": [], "report top-clients": [],
    "report durations": [], "report group-statistics": [], "report client-history": ["1"], "report batch-statistics": [],
    "report run": [str(ROOT / "sql/queries/report/stats.sql")], "report check": [], "monitor sizes": [],
    "monitor indexes": [], "monitor connections": [], "users list": [], "users set-password": ["admin", "--password-stdin"],
    "maintain vacuum": [], "maintain analyze": [], "maintain reindex": [],
    "maintain cleanup": [], "backup create": [], "backup undo": [], "backup restore": [str(ROOT / "tests/dumps/plain.sql"), "--into", "other"],
}  # fmt: skip
# These have no target: they look at the embedded server, at files, or at nothing.
OTHERS = (
    "demo",
    "maintain undo",
    "backup list",
    "backup verify",
    "backup rehearse",
    "backup prune",
    "backup check",
    "report list",
    "report show",
    "server start",
    "server stop",
    "server status",
    "server destroy",
    "config show",
    "config check",
)
COMMANDS = {
    path.removeprefix("iacalls "): command for path, _, command in walk() if not hasattr(command, "list_commands")
}


def test_every_command_is_tested_to_connect_or_known_not_to():
    assert set(COMMANDS) == set(CONNECTING) | set(OTHERS)


@pytest.mark.parametrize("path", CONNECTING)
def test_a_refused_connection_is_one_line_and_exit_code_3(path, iacalls, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", f"host=127.0.0.1 port={free_port()} dbname=iacalls_db user=ana password=s3cret")
    outcome = iacalls(*path.split(), *CONNECTING[path], stdin="Contraseña-1\n")
    assert outcome.code == 3
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert "Connection refused" in outcome.error
    assert "Hint: " in outcome.error
    assert "s3cret" not in outcome.error


@pytest.mark.parametrize("path", CONNECTING)
def test_nothing_configured_is_exit_code_3_without_a_terminal(path, iacalls):
    outcome = iacalls(*path.split(), *CONNECTING[path], stdin="Contraseña-1\n")
    assert outcome.code == 3
    assert "--dsn embedded" in outcome.error


@pytest.mark.parametrize("path", [*CONNECTING, *OTHERS])
def test_every_command_has_help_with_examples(path):
    command = COMMANDS[path]
    assert command.help
    assert command.help[0].isupper()
    assert "Examples:" in command.epilog
    assert f"iacalls {path}" in command.epilog
    for parameter in command.params:
        assert parameter.help, f"{path} {parameter.name}"


@pytest.mark.parametrize("path", COMMANDS)
def test_the_examples_in_the_help_are_command_lines(path, iacalls, monkeypatch):
    """Each is understood: what fails is the connection (3), or the embedded server, never the words (2)."""
    monkeypatch.setenv("IACALLS_DSN", f"host=127.0.0.1 port={free_port()}")
    for line in COMMANDS[path].epilog.splitlines():
        match = re.match(r"\s*iacalls ([^|>$]*)", line)
        if (
            not match
            or path in OTHERS
            or any(word in line for word in ("embedded", "db.example", ".sql", "--profile", "newest"))
        ):
            continue
        outcome = iacalls(*match[1].split())
        assert outcome.code in (0, 3) or "no terminal to ask" in outcome.error, line


@pytest.mark.golden
def test_the_reference_page_is_in_step(golden):
    golden(ROOT / "docs" / "cli.md", reference())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["db", "--help"], ["db", "verify", "-h"], ["report", "calls", "--help"], []]
)
def test_help_fits_80_columns(arguments, iacalls, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = iacalls(*arguments)
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80


def test_version(iacalls):
    assert run_process("--version").out == f"iacalls {__version__}\n"
    assert iacalls("--version").out == f"iacalls {__version__}\n"


@pytest.mark.parametrize("code", ["import iacalls_cli.app", "import iacalls_cli.commands.db.cli, iacalls_cli.commands.report.cli, "
                                  "iacalls_cli.commands.monitor.cli, iacalls_cli.commands.users.cli, iacalls_cli.commands.server.cli, "
                                  "iacalls_cli.commands.demo.cli, iacalls_cli.commands.maintain.cli, iacalls_cli.commands.backup.cli, iacalls_cli.commands.config.cli"])  # fmt: skip
def test_start_up_loads_nothing_heavy(code):
    # What is loaded before, as coverage is in a measured run and tomllib with it, is not ours.
    script = f"import sys; before = set(sys.modules); {code}; print(sorted(set({HEAVY!r}) & set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_completion_of_commands_reports_and_tables(tmp_path):
    def complete(words):
        environment = {"_IACALLS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return run_process(env=environment).out.split()

    assert complete("iacalls d") == ["demo", "db"]
    assert "top-clients" in complete("iacalls report ")
    assert complete("iacalls db describe call") == ["call_records"]
    assert complete("iacalls report show dur") == ["durations"]
    assert "--status" in complete("iacalls report calls --st")
    (tmp_path / "iacalls.toml").write_text('[profiles.staging]\nhost = "x"\n')
    assert complete("iacalls db tables --profile st") == ["staging"]
    (tmp_path / "iacalls.toml").write_text("broken")
    assert complete("iacalls db tables --profile st") == []
    assert "stats" in complete("iacalls report st")
    assert complete("iacalls maintain vacuum call") == ["call_records"]
    assert complete("iacalls maintain vacuum client_") == ["client_groups"]
    assert complete("iacalls maintain reindex clients") == ["clients", "clients_pkey"]
    assert complete("iacalls maintain cleanup --only f") == ["failed-calls"]


def test_the_completion_is_installed(tmp_path):
    # The shell is found by looking at who calls.
    command = f"{sys.executable} -m iacalls_cli --install-completion && true"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "iacalls" in (tmp_path / ".bash_completions" / "iacalls.sh").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "there is no command 'iacalls nonsense'"),
        (["report", "grups"], "did you mean groups?"),
        (["db", "tables", "postgresql://ana:s3/cret@h/x"], "an argument too many"),
        (["db", "tables", "\udcff"], "argument 3 is not UTF-8"),
        (["-o", "json", "report", "groups"], "options stand behind the command"),
        (["report", "-o", "json", "groups"], "write `iacalls report groups -o"),
        (["report", "groups", "--limit", "-1"], "limit"),
        (["db", "verify", "--sql", "-o", "json"], "--sql prints SQL"),
        (["report", "calls", "--nonsense"], "No such option"),
        (["report", "calls", "--limit", "x"], "--limit"),
        (["report", "calls", "--status", "x"], "'x' is not one of 'pending'"),
        (["report", "calls", "--since", "soon"], "since is not a timestamp: soon"),
        (["report", "calls", "--tz", "Mars/Base"], "there is no time zone Mars/Base"),
        (["report", "client-history"], "Missing argument 'CLIENT_ID'"),
        (["report", "client-history", "x"], "CLIENT_ID"),
        (["report", "client-history", "99999999999"], "client_id is too large for integer"),
        (["report", "calls", "-o", "xml"], "xml"),
        (["report", "show", "nonsense"], "there is no report nonsense"),
        (["report", "run", "/nonexistent.sql"], "there is no file /nonexistent.sql"),
        (["report", "run", "/tmp"], "/tmp is a folder"),
        (["demo", "--scale", "0"], "--scale"),
        (["db", "tables", "--dsn", "nonsense"], "not a connection URI"),
        (["db", "tables", "--dsn", ""], "is empty"),
        (["db", "tables", "--dsn", "a=b", "--profile", "x"], "both name a target"),
        (["users", "set-password"], "Missing argument 'USERNAME'"),
        (["users", "set-password", "x"], "no terminal"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(arguments, words, iacalls, monkeypatch):
    if "--dsn" not in arguments:
        monkeypatch.setenv("IACALLS_DSN", f"host=127.0.0.1 port={free_port()}")
    outcome = iacalls(*arguments)
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert words in outcome.error
    assert "Hint: " in outcome.error
    assert "cret" not in outcome.error
    assert outcome.out == ""


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://ana:s3/cret@db/x",
        "postgresql://ana:s3@cret@db/x",
        "password='s3 cret' host=db",
        "PASSWORD = s3cret",
    ],
)
def test_what_looks_like_a_password_is_not_said(text):
    assert "cret" not in diagnostics.redact(text)
    assert "***" in diagnostics.redact(text)


@pytest.mark.parametrize("group", ["db", "report", "monitor", "users", "server"])
def test_a_group_alone_shows_what_it_has(group, iacalls):
    outcome = iacalls(group)
    assert outcome.code == 0
    assert outcome.err == ""
    assert ("stats" if group == "report" else f"Usage: iacalls {group}") in outcome.out


def test_a_check_that_finds_something_exits_4(server, empty_database):
    """In a process of its own: Typer turns a returned Exit into success."""
    environment = {"IACALLS_DSN": server.dsn(empty_database, OWNER)}
    assert run_process("db", "verify", env=environment).code == 4
    assert run_process("report", "check", env=environment).code == 4
    assert run_process("server", "status").code == 3


@pytest.mark.parametrize(
    ("redirection", "arguments", "code"),
    [(">/dev/full", "--version", 1), (">&-", "--version", 1), (">&-", "report list", 1), (">/dev/full", "report list", 1),
     ("<&-", "users set-password admin --password-stdin", 2), ("<&-", "server destroy", 0), ("2>&-", "report list", 0),
     ("2>/dev/full", "nonsense", 2), ("2>&-", "nonsense", 2), ("</dev/null", "db tables", 3)],
)  # fmt: skip
def test_closed_and_full_streams(redirection, arguments, code):
    """The exit code is the documented one, and what can be said is one line."""
    command = f"exec {sys.executable} -m iacalls_cli {arguments} {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_query_too(server, filled_database, tmp_path, stop):
    slow = tmp_path / "slow.sql"
    slow.write_text("-- Slow.\nSELECT pg_sleep(60)")
    environment = {**os.environ, "IACALLS_DSN": server.dsn(filled_database, OWNER)}
    with running_process("report", "run", str(slow), env=environment) as process, server.connect("postgres") as admin:
        running = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active'"

        def is_running():
            return admin.execute(running, [filled_database]).fetchone() == (1,)

        until = time.monotonic() + 20
        while not is_running() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(stop)
        process.communicate(timeout=10)
        assert process.returncode == 130
        until = time.monotonic() + 5
        while is_running() and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_running()


def test_no_module_names_characters():
    """Compiling `\\N{…}` loads a module of its own, and an interrupt in that moment became a SyntaxError."""
    named = [path.name for path in (ROOT / "iacalls_cli").rglob("*.py") if "\\N{" in path.read_text("utf-8")]
    assert named == []


def test_ctrl_c_in_the_first_moments_leaves_no_traceback():
    for delay in (0.02, 0.05, 0.1, 0.2):
        process = start_process("report", "list")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        # Before our own code runs, the interpreter answers in its own way.
        assert process.returncode in (0, 130, -signal.SIGINT) or b"Traceback" in said
        assert b"iacalls_cli/" not in said


def test_a_bug_is_one_line_without_a_traceback(iacalls, monkeypatch):
    def broken(*_):
        raise KeyError("password=s3cret")

    monkeypatch.setattr("iacalls_cli.config.target.choose_target", broken)
    outcome = iacalls("db", "tables")
    assert outcome.code == 1
    assert "internal error in invocation.py:" in outcome.error
    assert "KeyError" in outcome.error
    assert "s3cret" not in outcome.error


def test_errors_carry_their_exit_codes():
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 130]


def test_spanish_under_lang_c(server, filled_database):
    """Names with á, ñ and ¿ come out whole, whatever the locale and the streams' encoding."""
    base = {"IACALLS_DSN": server.dsn(filled_database, OWNER)}
    for locale in ({"LC_ALL": "C"}, {"LC_ALL": "POSIX"},
                   {"PYTHONIOENCODING": "ascii"}):  # fmt: skip
        outcome = run_process("report", "groups", "-o", "csv", env={**base, **locale})
        assert outcome.code == 0
        assert "María Ñáñez" in outcome.out
        outcome = run_process("db", "describe", "año", env={**base, **locale})
        assert "año" in outcome.error
    assert "Estadísticas" in run_process("report", env={"LC_ALL": "es_CO.UTF-8"}).out


def test_stdout_is_data_and_stderr_everything_else(database, use, iacalls):
    use(database)
    outcome = iacalls("db", "tables", "-o", "json")
    assert outcome.json["command"] == "db tables"
    assert outcome.json["target"]["database"] == database
    assert set(outcome.json["target"]) == {"host", "port", "database", "user", "source"}
    assert outcome.err.startswith(f"iacalls: target: {database} on ")
    assert "IACALLS_DSN" in outcome.err


def test_quiet_and_verbose(database, use, iacalls):
    use(database)
    assert iacalls("db", "tables", "--quiet").err == ""
    assert "statement_timeout 15min" in iacalls("db", "tables", "--verbose").err


def test_a_reader_that_goes_away_is_no_error(server, filled_database):
    environment = {**os.environ, "IACALLS_DSN": server.dsn(filled_database, OWNER)}
    process = start_process("report", "batch-statistics", "-o", "jsonl", env=environment)
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 1
    assert "error" not in error
    assert "Exception" not in error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line(server, filled_database):
    environment = {**os.environ, "IACALLS_DSN": server.dsn(filled_database, OWNER)}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "iacalls_cli", "report", "groups", "-o", "csv", "-q"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


def test_ctrl_c_in_a_query_cancels_it(server, database, tmp_path):
    slow = tmp_path / "slow.sql"
    slow.write_text("-- Slow.\nSELECT pg_sleep(60)")
    environment = {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}
    running = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%pg_sleep%%' AND state = 'active'"
    with running_process("report", "run", str(slow), env=environment) as process, server.connect("postgres") as admin:
        until = time.monotonic() + 20
        while not admin.execute(running, [database]).fetchone():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "Traceback" not in error.decode()
        assert not admin.execute(running, [database]).fetchone()


def test_a_lost_connection_in_mid_query_is_exit_code_3(server, database, use, iacalls, tmp_path):
    lost = tmp_path / "lost.sql"
    lost.write_text("-- Lost.\nSELECT pg_terminate_backend(pg_backend_pid())")
    use(database)
    outcome = iacalls("report", "run", str(lost))
    assert outcome.code == 3
    assert "the connection was lost" in outcome.error


@pytest.mark.parametrize("output", ["json", "csv"])
def test_a_connection_lost_between_rows_is_exit_code_3(server, database, use, iacalls, tmp_path, output):
    """The first rows are out already; the exit code tells that there should have been more."""
    lost = tmp_path / "lost.sql"
    lost.write_text(
        "-- Lost.\nSELECT g, CASE WHEN g = 900000 THEN pg_terminate_backend(pg_backend_pid()) END FROM generate_series(1, 1000000) g"
    )
    use(database)
    outcome = iacalls("report", "run", str(lost), "-o", output)
    assert outcome.code == 3
    assert outcome.out


def test_a_terminal_gets_drawn_tables_others_get_all_text(server, filled_database):
    environment = {"IACALLS_DSN": server.dsn(filled_database, OWNER)}
    code, screen = run_terminal("report", "groups", env=environment)
    assert code == 0
    assert "───" in screen
    assert "\x1b[1m" in screen
    code, plain = run_terminal("report", "groups", env={**environment, "NO_COLOR": "1", "TERM": "dumb"})
    assert "\x1b[3" not in plain
    assert run_process("report", "groups", env=environment).out.count("…") == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ana:s3cret@h/x", "postgresql://ana:***@h/x"),
        ("host=h password=s3cret user=u", "host=h password=*** user=u"),
        ("host=h PASSWORD = 's3 cret' x", "host=h PASSWORD = *** x"),
    ],
)
def test_redaction(text, shown):
    assert diagnostics.redact(text) == shown


def test_an_error_with_line_breaks_and_controls_stays_one_line(capfd):
    diagnostics.error(IacallsError("one\ntwo \x1b[31m", "three\nfour"))
    assert capfd.readouterr().err == "iacalls: error: one two \\x1b[31m. Hint: three four\n"


def test_the_password_is_never_in_the_arguments_of_a_process(server, database):
    """What the kernel shows of a command line to every user."""
    environment = {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}
    process = start_process(
        "users", "set-password", "admin", "--password-stdin", env=environment, stdin=subprocess.PIPE
    )
    arguments = Path(f"/proc/{process.pid}/cmdline")
    shown = arguments.read_bytes() if arguments.exists() else b""
    _, error = process.communicate(b"Muy secreta 1\n")
    assert process.returncode == 0
    assert b"Muy secreta" not in shown + error


def test_run_returns_the_exit_code():
    assert run(["--version"]) == 0


class Terminal(io.StringIO):
    """A terminal for progress bars."""

    def isatty(self):
        return True


def test_the_step_at_work_is_on_the_screen_among_many(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("LINES", "24")
    with diagnostics.progress() as progress:
        for number in range(30):
            progress(f"index {number}.", 0, 1)
            drawn = screen.getvalue()
            frame = drawn[drawn.rfind("\r") :]
            assert f"index {number}." in frame
            assert frame.count("index ") <= diagnostics.MOST_BARS
            progress(f"index {number}.", 1, 1)
        progress("index 0.", 1, 1)  # one that is gone from the screen
    assert "..." not in screen.getvalue()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("maintain", "cleanup"), "Delete what is old"),
        (("report", "run"), "Run any SQL file of one statement"),
        (("users", "list"), "List active users"),
        (("backup", "create"), "Back the database up"),
        (("report",), "documented reports"),
    ],
)
def test_help_needs_no_docstrings(command, words):
    outcome = run_process(*command, "--help", env={"PYTHONOPTIMIZE": "2"})
    assert outcome.code == 0, outcome.err
    assert words in " ".join(outcome.out.split())
    assert outcome.out == run_process(*command, "--help").out
