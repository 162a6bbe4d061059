"""The embedded server: made once, shared, recovered, refused where it must be."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from iacalls_cli.config.target import Target
from iacalls_cli.database.parameters import libpq_parameters
from iacalls_cli.embedded import account as account_module
from iacalls_cli.embedded import places as places_module
from iacalls_cli.embedded.account import PRODUCTION, UNPRIVILEGED, Account, runs_another, server_account
from iacalls_cli.embedded.bundle import bundled, find_program
from iacalls_cli.embedded.places import find_places
from iacalls_cli.embedded.server import embedded_server
from iacalls_cli.errors import IacallsError
from tests.support.command_line import run_process, run_terminal, start_process

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another account")


@pytest.fixture
def server(data_home):
    return embedded_server()


def connect(server, **keywords):
    return psycopg.connect(**{**server.conninfo("postgres"), **keywords})


def postmaster(server):
    return int((server.places.data / "postmaster.pid").read_text().split()[0])


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def test_life(server):
    assert server.status().state == "absent"
    assert server.start() is True
    assert server.start() is False
    assert server.status().state == "running"
    with connect(server) as session:
        assert session.info.server_version // 10_000 == server.bundle.major
    assert server.stop() is True
    assert server.stop() is False
    assert server.status().state == "stopped"
    assert server.start() is True
    server.destroy()
    assert server.status().state == "absent"
    assert not server.places.home.exists()


def test_it_has_no_tcp_address(server):
    server.start()
    with connect(server) as session:
        assert session.execute("SHOW listen_addresses").fetchone() == ("",)
    listening = [c for c in psutil.Process(postmaster(server)).net_connections("inet") if c.status == "LISTEN"]
    assert listening == []


def test_nobody_gets_in_without_the_password(server):
    server.start()
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        connect(server, password="", passfile="/dev/null")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        connect(server, password="wrong")
    assert stat.S_IMODE(server.places.passfile.stat().st_mode) == 0o600
    assert server.places.passfile.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(server.places.socket_folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.places.data.stat().st_mode) == 0o700
    hba = (server.places.data / "pg_hba.conf").read_text()
    methods = {line.split()[-1] for line in hba.splitlines() if line.strip() and not line.startswith("#")}
    assert methods == {"scram-sha-256"}


def test_its_dsn_serves_other_programs(server):
    server.start()
    dsn = server.status().dsn.replace("dbname=iacalls_db", "dbname=postgres")
    done = subprocess.run([find_program("psql").path, "-XAtc", "SELECT 'año'", dsn], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("año\n", 0)


def test_utf8_whatever_the_locale(server, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C")
    server.start()
    with connect(server) as session:
        assert session.execute("SELECT upper('ñandú'), getdatabaseencoding()").fetchone() == ("ÑANDÚ", "UTF8")


def test_asking_for_parameters_makes_and_starts_nothing(server):
    parameters = libpq_parameters(Target("default", is_embedded=True))
    assert parameters["host"] == str(server.places.socket_folder)
    assert server.status().state == "absent"


def test_two_starts_at_once_end_with_one_server(data_home):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: run_process("server", "start"), range(4)))
    assert [outcome.code for outcome in outcomes] == [0] * 4
    assert sum("is started" in outcome.err for outcome in outcomes) == 1
    data = str(embedded_server().places.data)

    def servers():
        # A child that was just forked has its parent's command line until it names itself.
        found = [p for p in psutil.process_iter(["cmdline", "ppid"]) if data in (p.info["cmdline"] or [])]
        own = {p.pid for p in found}
        return [p for p in found if "postgres" in p.name() and p.info["ppid"] not in own]

    assert len(servers()) == 1


def test_it_outlives_the_command_that_started_it(data_home):
    assert run_process("server", "start").code == 0
    assert embedded_server().is_running()


def test_recovery_after_kill_9(server):
    server.start()
    with connect(server) as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS a")
    with contextlib.closing(connect(server)) as busy:
        busy.execute("CREATE TABLE lost AS SELECT 1 AS a")
        os.kill(postmaster(server), signal.SIGKILL)
    wait_until(lambda: not server.is_running())
    assert server.start() is True
    with connect(server) as session:
        assert session.execute("SELECT to_regclass('kept') IS NOT NULL, to_regclass('lost') IS NULL").fetchone() == (
            True,
            True,
        )


def test_a_command_waits_for_a_server_in_recovery(server, iacalls):
    server.start()
    assert iacalls("db", "init", "--dsn", "embedded").code == 0
    with contextlib.closing(connect(server)) as session:
        os.kill(session.info.backend_pid, signal.SIGKILL)
    assert iacalls("db", "tables", "--dsn", "embedded").code == 0


def test_a_killed_initdb_leaves_nothing_that_counts(data_home):
    starting = start_process("server", "start")
    wait_until(lambda: list(data_home.glob("iacalls/server/data.partial-*/data/base")))
    starting.kill()
    starting.communicate()
    assert not embedded_server().places.data.exists()
    assert run_process("server", "start").code == 0
    assert embedded_server().is_running()


def test_a_foreign_process_with_the_old_id_does_not_block(server):
    server.start()
    server.stop()
    account = server.account
    lines = f"{{pid}}\n{server.places.data}\n1700000000\n5432\n{server.places.socket_folder}\n\n  1 2\n"
    identity = {"user": account.uid, "group": account.gid} if account.switch else {}
    with subprocess.Popen(["/bin/sleep", "60"], cwd="/", **identity) as foreign:
        lock_file = server.places.data / "postmaster.pid"
        lock_file.write_text(lines.format(pid=foreign.pid))
        account.give(lock_file)
        try:
            assert server.start() is True
        finally:
            foreign.kill()


def make_data(server):
    """An empty data directory, which is none that has to be started."""
    server.places.data.mkdir(parents=True)
    server.account.give(server.places.data)


def write_stale_pid(server, pid):
    """The file that a killed server left, whose number is that of something else now."""
    lock_file = server.places.data / "postmaster.pid"
    lock_file.unlink(missing_ok=True)
    lock_file.write_text(f"{pid}\n{server.places.data}\n1700000000\n5432\n{server.places.socket_folder}\n\n  1 2\n")
    server.account.give(lock_file)


@root_only
def test_a_process_of_another_user_is_no_server_of_ours(server, monkeypatch):
    """Its folder cannot be looked into by an ordinary user; what it is, is told by whose it is."""
    server.start()
    server.stop()
    cwd = psutil.Process.cwd

    def closed(process):
        if process.pid == os.getpid() or process.uids().real != server.account.uid:
            raise psutil.AccessDenied(process.pid)
        return cwd(process)

    monkeypatch.setattr(psutil.Process, "cwd", closed)
    with subprocess.Popen(["/bin/sleep", "60"], cwd=server.places.data) as foreign:
        try:
            for pid in (foreign.pid, os.getpid(), 1):
                write_stale_pid(server, pid)
                assert server.status().state == "stopped"
                assert server.stop() is False
            write_stale_pid(server, foreign.pid)
            assert server.start() is True
            assert server.stop() is True
            write_stale_pid(server, foreign.pid)
            server.destroy()
            assert not server.places.data.exists()
            assert foreign.poll() is None
        finally:
            foreign.kill()


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1" + "0" * 30, "9" * 5000, "2147483647", "\0"])
def test_a_process_id_that_is_none_is_no_server(server, text):
    make_data(server)
    (server.places.data / "postmaster.pid").write_text(text)
    assert server.status().state == "stopped"
    assert server.stop() is False


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "too large"])
def test_no_file_in_place_of_the_process_id_is_no_server(server, kind):
    make_data(server)
    path = server.places.data / "postmaster.pid"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/proc/self/stat")
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(30 << 30)
    assert server.status().state == "stopped"
    assert server.stop() is False


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "fifo", "other owner"])
def test_a_lock_that_is_not_ours_is_refused(server, tmp_path, kind):
    lock, outside = server.places.lock, tmp_path / "outside"
    make_data(server)
    if kind == "other owner":
        if os.geteuid() != 0:
            pytest.skip("needs root, to be two users")
        lock.touch()
        os.chown(lock, 65534, 65534)
    elif kind == "fifo":
        os.mkfifo(lock)
    elif kind == "hard link":
        outside.write_text("x")
        lock.hardlink_to(outside)
    else:
        if kind == "link":
            outside.write_text("x")
        lock.symlink_to(outside)
    with pytest.raises(IacallsError) as caught:
        server.stop()
    assert str(lock) in caught.value.message
    assert kind != "dangling link" or not outside.exists()
    lock.unlink()


def test_data_of_another_major_version_are_named(server, iacalls):
    server.start()
    server.stop()
    marker = server.places.data / "PG_VERSION"
    marker.write_text("13\n")
    outcome = iacalls("db", "tables", "--dsn", "embedded")
    assert outcome.code == 1
    assert "PostgreSQL 13" in outcome.error
    assert f"PostgreSQL {server.bundle.major}" in outcome.error
    assert marker.read_text() == "13\n"


def test_permissions_of_other_folders_stay(data_home, tmp_path_factory):
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    before = {
        path: path.stat().st_mode for path in (data_home, data_home.parent, Path.home(), closed, Path(sys.prefix))
    }
    embedded_server().start()
    assert {path: path.stat().st_mode for path in before} == before


@root_only
def test_root_works_from_a_closed_folder(monkeypatch, tmp_path):
    """Neither the programs nor the data can be where root alone may look."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    state = Path(tempfile.mkdtemp(prefix="iacalls-state-"))
    state.chmod(0o755)
    monkeypatch.setattr(places_module, "SYSTEM_STATE", state)
    monkeypatch.setenv("XDG_DATA_HOME", str(closed))
    private = bundled().copy_to(closed / "programs")
    account = server_account()
    places = find_places(account)
    assert places.home.is_relative_to(state)
    from iacalls_cli.embedded.server import Server

    server = Server(private, account, places)
    try:
        assert server.start() is True
        with connect(server) as session:
            assert session.execute("SELECT 1").fetchone() == (1,)
        assert psutil.Process(postmaster(server)).uids().real == account.uid != 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.destroy()
        shutil.rmtree(state)


@root_only
def test_root_runs_it_as_no_other_servers_account(server):
    server.start()
    account = server.account
    assert account.name in UNPRIVILEGED
    assert account.name not in PRODUCTION
    assert psutil.Process(postmaster(server)).uids().real == account.uid
    assert not runs_another(account)


@root_only
def test_the_dedicated_account_is_preferred(monkeypatch):
    monkeypatch.setattr(account_module, "UNPRIVILEGED", ("iacalls-missing", "daemon", "nobody"))
    assert server_account().name == "daemon"


@root_only
def test_the_account_of_a_packaged_servers_home_is_passed_over(monkeypatch, tmp_path):
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(account_module, "UNPRIVILEGED", ("nobody",))
    monkeypatch.setattr(account_module, "SERVER_HOMES", (str(tmp_path),))
    assert server_account().name == "nobody"
    os.chown(tmp_path, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(IacallsError, match="no account") as caught:
        server_account()
    assert "useradd --system" in caught.value.hint


@root_only
def test_an_account_that_runs_another_server_is_passed_over(monkeypatch):
    daemon = pwd.getpwnam("daemon")
    monkeypatch.setattr(account_module, "UNPRIVILEGED", ("daemon",))
    folder = Path(tempfile.mkdtemp(prefix="iacalls-other-"))
    folder.chmod(0o755)
    (folder / "PG_VERSION").write_text("15\n")
    shutil.copy(shutil.which("sleep"), folder / "postgres")
    try:
        with subprocess.Popen([folder / "postgres", "60"], cwd=folder, user=daemon.pw_uid) as other:
            wait_until(lambda: psutil.Process(other.pid).name() == "postgres")
            with pytest.raises(IacallsError, match="no account"):
                server_account()
            (folder / "lock").touch()  # as beside the data of an embedded server
            (folder / "data").mkdir()
            assert account_module.is_embedded(folder / "data")
            other.kill()
        assert server_account().name == "daemon"
    finally:
        shutil.rmtree(folder)


@root_only
def test_data_that_belong_to_another_servers_account(server, iacalls, monkeypatch):
    """Made by an earlier version: refused, whether it runs or not, until the operator gives them to another account."""
    server.start()
    with connect(server) as session:
        session.execute("CREATE TABLE kept AS SELECT 1 AS a")
    server.stop()
    daemon = pwd.getpwnam("daemon")
    subprocess.run(
        ["chown", "-R", "daemon:", server.places.data, server.places.socket_folder, server.places.log], check=True
    )
    assert embedded_server().start() is True  # the owner runs it, and is no other server's account yet
    monkeypatch.setattr(account_module, "PRODUCTION", ("daemon",))
    for is_running in (True, False):
        outcome = iacalls("db", "tables", "--dsn", "embedded")
        assert outcome.code == 1
        assert "the account of another PostgreSQL server" in outcome.error
        assert embedded_server().is_running() == is_running
        assert iacalls("server", "status", "-o", "json").json["data"][0]["account"] == "daemon"
        assert iacalls("server", "stop").code == 0
    assert server.places.data.stat().st_uid == daemon.pw_uid
    command = re.search("then `(chown [^`]+)`", outcome.error)[1]
    assert subprocess.run(command, shell=True).returncode == 0
    assert embedded_server().start() is True
    assert psutil.Process(postmaster(server)).username() == embedded_server().account.name == server.account.name
    with connect(embedded_server()) as session:
        assert session.execute("SELECT a FROM kept").fetchone() == (1,)


@root_only
def test_data_whose_owner_cannot_run_a_server(server):
    server.start()
    server.stop()
    for uid, name in ((0, "root"), (54321, "54321")):
        os.chown(server.places.data, uid, uid)
        with pytest.raises(IacallsError, match=f"belong to {name}") as caught:
            embedded_server()
        assert f"chown -R {server.account.name}: {server.places.data}" in caught.value.hint
        assert server.places.data.stat().st_uid == uid
    os.chown(server.places.data, server.account.uid, server.account.gid)


def test_a_long_path_gets_a_short_socket(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ("x" * 120)))
    account = Account("me", os.geteuid(), os.getegid(), switch=False)
    places = find_places(account)
    assert len(os.fsencode(places.socket)) <= 103
    assert "x" * 120 in str(places.home)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_cannot_be_made(monkeypatch, tmp_path):
    tmp_path.chmod(0o500)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "no"))
    with pytest.raises(IacallsError, match="cannot make"):
        embedded_server().start()


def test_status_tells_where_everything_is(server, iacalls):
    outcome = iacalls("server", "status", "-o", "json")
    assert outcome.code == 3
    assert outcome.json["data"][0]["state"] == "absent"
    assert "server start" in outcome.error
    assert iacalls("server", "start").code == 0
    outcome = iacalls("server", "status", "-o", "json")
    assert outcome.code == 0
    row = outcome.json["data"][0]
    assert row["state"] == "running"
    assert row["size"] > 1_000_000
    assert "password=" not in row["dsn"]


def test_destroy_needs_the_name(server, iacalls):
    server.start()
    outcome = iacalls("server", "destroy")
    assert outcome.code == 2
    assert "--confirm iacalls_db" in outcome.error
    assert iacalls("server", "destroy", "--confirm", "other").code == 2
    outcome = iacalls("server", "destroy", "--dry-run")
    assert outcome.code == 0
    assert "plan: stop the server and remove" in outcome.err
    assert server.is_running()
    assert iacalls("server", "destroy", "--confirm", "iacalls_db").code == 0
    assert server.status().state == "absent"
    assert iacalls("server", "destroy", "--yes").code == 0


def test_destroy_asks_for_the_name_at_a_terminal(server):
    server.start()
    code, screen = run_terminal("server", "destroy", answers=[("to go on: ", "iacalls\n")])
    assert code == 1
    assert "nothing was changed" in screen
    assert server.is_running()
    code, _ = run_terminal("server", "destroy", answers=[("to go on: ", "iacalls_db\n")])
    assert code == 0
    assert server.status().state == "absent"


def test_the_callers_pg_variables_do_not_reach_it(server, iacalls, monkeypatch):
    for name, value in {"PGHOST": "nowhere.invalid", "PGPORT": "1", "PGPASSWORD": "x", "PGSSLMODE": "require",
                        "PGSERVICE": "nowhere", "PGOPTIONS": "-c bogus=1", "PGDATA": "/nowhere"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert iacalls("db", "init", "--dsn", "embedded").code == 0
    assert os.environ["PGHOST"] == "nowhere.invalid"


@pytest.mark.slow
def test_a_stop_in_the_middle_of_recovery_ends(server):
    """PostgreSQL 18 may hang when it is told to stop while it recovers from a crash."""
    server.start()
    with contextlib.closing(connect(server)) as session:
        os.kill(session.info.backend_pid, signal.SIGKILL)
    assert server.stop() is True
    assert server.start() is True


def test_a_server_that_lost_its_socket_is_found_by_its_process(server):
    """Something that cleans /tmp, or a person, removes the socket of a running server."""
    server.start()
    first = psutil.Process(postmaster(server))
    for file in server.places.socket_folder.iterdir():
        file.unlink()
    assert server.status().state == "unreachable"
    assert server.start()
    assert not is_alive(first)
    second = psutil.Process(postmaster(server))
    for file in server.places.socket_folder.iterdir():
        file.unlink()
    server.destroy()
    assert not is_alive(second)


def test_start_and_destroy_at_once_end_whole(server):
    server.start()
    for _ in range(4):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            removed, started = pool.submit(server.destroy), pool.submit(server.start)
            removed.result()
            started.result()
        assert server.is_running() or not server.exists()


def spy_on(path, account, said):
    """As another user, wait at a socket for a first look and a client, and ask that for its password."""
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        said.send("ready")
        listening.accept()[0].close()
        client, _ = listening.accept()
        first = client.recv(999)
        with contextlib.suppress(OSError):
            client.sendall(b"R\0\0\0\x08\0\0\0\x03")
            said.send(first + client.recv(999))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_the_password_goes_to_no_server_of_another_user(server, iacalls):
    """Whoever can put a socket where ours should be gets nothing for it."""
    server.start()
    server.stop()
    shutil.rmtree(server.places.socket_folder)
    server.places.socket_folder.mkdir()
    server.places.socket_folder.chmod(0o777)
    ours, theirs = multiprocessing.Pipe()
    arguments = str(server.places.socket), pwd.getpwnam("daemon"), theirs
    spy = multiprocessing.get_context("fork").Process(target=spy_on, args=arguments)
    spy.start()
    assert ours.recv() == "ready"
    outcome = iacalls("db", "tables", "--dsn", "embedded")
    spy.join(10)
    assert outcome.code == 3
    assert "daemon" in outcome.error
    assert not ours.poll() or ours.recv() == b""


@pytest.mark.parametrize("name", ["a,b", "a'b", "a$(id)b", "a\nb"])
def test_a_path_that_its_programs_would_misread_is_refused(tmp_path, monkeypatch, iacalls, name):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / name))
    outcome = iacalls("server", "start")
    assert outcome.code == 1
    assert "set XDG_DATA_HOME" in outcome.error
    assert not (tmp_path / name).exists()


def test_a_path_with_spaces_serves_everywhere(monkeypatch, iacalls, data_home):
    monkeypatch.setenv("XDG_DATA_HOME", str(data_home / "Application Support"))
    try:
        assert iacalls("server", "start").code == 0
        dsn = iacalls("server", "status", "-o", "json").json["data"][0]["dsn"].replace("iacalls_db", "postgres")
        with psycopg.connect(dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    finally:
        embedded_server().destroy()
