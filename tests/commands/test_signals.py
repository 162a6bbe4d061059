"""Signals: SIGINT, SIGTERM and SIGHUP end every long command alike, and nothing of it stays behind."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.support import TESTS
from tests.support.backup_folders import left_in, wait_until
from tests.support.command_line import answer_signals, running_process
from tests.support.old_rows import add_old_rows, archives_in, check_sums
from tests.support.servers import OWNER

DYING = TESTS / "support" / "dying.py"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESTORE = "iacalls_cli.operations.backup.restore:count_table"
DUMP = "iacalls_cli.operations.backup.create:run_dump"
DELETE = "iacalls_cli.operations.maintain.archive.writer:PartWriter.finish"
VACUUM = "iacalls_cli.operations.maintain.vacuum:vacuum_table"
# Where the signal comes, and the command; `{}` is the database.
COMMANDS = {
    "create": (DUMP, ("backup", "create")),
    "replace": (RESTORE, ("backup", "restore", "newest", "--replace", "--confirm", "{}")),
    "into": (RESTORE, ("backup", "restore", "newest", "--into", "{}_copy")),
    "rehearse": (RESTORE, ("backup", "rehearse")),
    "cleanup": (DELETE, ("maintain", "cleanup", "--pause", "0s")),
    "vacuum": (VACUUM, ("maintain", "vacuum", "--jobs", "2")),
}


def family(server, name):
    """The database, all whose names begin like it, and all scratch databases of restore tests."""
    with server.connect("postgres") as admin:
        statement = "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY 1"
        return [row[0] for row in admin.execute(statement, [name]).fetchall()]


def sessions(server, name):
    with server.connect("postgres") as admin:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname ~ %s AND application_name ~ '^iacalls'"
        return admin.execute(statement, [f"^{name}"]).fetchone()[0]


@pytest.fixture(scope="module")
def prepared(server, filled_template, tmp_path_factory):
    """A database with old rows, a folder with one backup of it, and the folder of a hook's notes."""
    name = server.create_database(template=filled_template)
    folder = tmp_path_factory.mktemp("signals")
    yield name, folder
    server.drop_database(name)


@pytest.fixture
def environment(server, prepared, configure, tmp_path):
    """For processes whose target is the database; a hook notes failures in `tmp_path`/told."""
    name, folder = prepared
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$IACALLS_OUTCOME" >> {tmp_path}/told\n')
    hook.chmod(0o700)
    configure(
        f'[backup]\ndirectory = "{folder}/backups"\non_failure = ["{hook}"]\n[maintain]\narchives = "{folder}/archives"\n'
    )
    environment = {**os.environ, "IACALLS_DSN": server.dsn(name, OWNER)}
    if not (folder / "backups").exists():
        command = [sys.executable, "-m", "iacalls_cli", "backup", "create"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    return environment


@pytest.mark.parametrize(
    ("command", "number"),
    [
        pytest.param(
            command,
            number,
            marks=() if number == signal.SIGHUP or command in ("replace", "cleanup") else pytest.mark.slow,
        )
        for command in COMMANDS
        for number in SIGNALS
    ],
)
def test_a_signal_ends_a_long_command_with_nothing_left(server, prepared, environment, tmp_path, command, number):
    name, folder = prepared
    place, words = COMMANDS[command]
    words = [word.format(name) for word in words]
    if command == "rehearse":
        words += ["--dsn", environment["IACALLS_DSN"]]
    if command == "cleanup":
        with server.connect(name, OWNER) as owner:
            add_old_rows(owner)
    before, databases = left_in(folder / "backups"), family(server, name)
    runs = set(archives_in(folder / "archives")) if (folder / "archives").exists() else set()
    done = subprocess.run(
        [sys.executable, DYING, place, "before", "2" if command == "cleanup" else "1", str(int(number)), *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        preexec_fn=answer_signals,
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(folder / "backups") == before
    assert family(server, name) == databases
    assert [one for one in family(server, "") if ".rehearsal-" in one] == []
    wait_until(lambda: sessions(server, name) == 0)
    if command == "cleanup":
        (archive,) = set(archives_in(folder / "archives")) - runs
        assert check_sums(archive) == ""  # it is closed
        assert json.loads((archive / "manifest.json").read_text())["state"] == "interrupted"
    has_hooks = command in ("create", "rehearse")
    assert (tmp_path / "told").exists() == has_hooks
    assert not has_hooks or (tmp_path / "told").read_text() == "failure\n"


def slow_report(tmp_path, seconds):
    slow = tmp_path / "slow.sql"
    slow.write_text(f"-- Slow.\nSELECT 'done' AS word, pg_sleep({seconds})::text AS slept")
    return "report", "run", str(slow)


def is_asleep(server, name):
    with server.connect("postgres") as admin:
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event = 'PgSleep'"
        return admin.execute(statement, [name]).fetchone() == (1,)


def test_under_nohup_a_command_goes_on(server, prepared, environment, tmp_path):
    def ignore_hangups():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    words = slow_report(tmp_path, 1)
    with running_process(*words, env=environment, preexec_fn=ignore_hangups) as process:
        wait_until(lambda: is_asleep(server, prepared[0]))
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert b"done" in out


def test_a_terminal_that_is_closed_ends_the_query(server, prepared, environment, tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        answer_signals()
        words = slow_report(tmp_path, 60)
        os.execve(sys.executable, [sys.executable, "-m", "iacalls_cli", *words], environment)
    wait_until(lambda: is_asleep(server, prepared[0]))
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    wait_until(lambda: not is_asleep(server, prepared[0]))


def test_a_second_hangup_does_not_interrupt_the_cleaning_up(server, prepared, environment):
    """The kernel and the shell both tell of a closed terminal, and systemd sends SIGTERM and SIGHUP."""
    name, folder = prepared
    script = f"""
import sys
from iacalls_cli.__main__ import main
from tests.support.dying import die_at
die_at("{RESTORE}", "before", 1, {int(signal.SIGTERM)})
die_at("iacalls_cli.operations.backup.restore:discard", "before", 1, {int(signal.SIGHUP)})
sys.argv[1:] = ["backup", "restore", "newest", "--into", "{name}_twice"]
main()
"""
    root = {**environment, "PYTHONPATH": str(DYING.parent.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=root, capture_output=True, text=True, timeout=60, preexec_fn=answer_signals
    )
    assert done.returncode == 130, done.stderr
    assert family(server, f"{name}_twice") == []
    assert [path for path in left_in(folder / "backups") if path.endswith(".partial")] == []
