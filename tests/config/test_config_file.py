"""The config files: what they say, and how they are refused."""

import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from iacalls_cli.config.definition import HOOKS, BackupSettings
from iacalls_cli.config.file import config_files, load_config
from iacalls_cli.errors import UsageError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_both_files_are_read_and_the_local_one_wins(tmp_path, monkeypatch):
    personal, local = config_files()
    assert personal == tmp_path / "config" / "iacalls" / "config.toml"
    assert local == tmp_path / "iacalls.toml"
    write(
        personal,
        'profile = "a"\n[profiles.a]\nhost = "a"\n[profiles.b]\ndsn = "host=b"\n[session]\nlock_timeout = "1s"\n',
    )
    write(local, 'profile = "b"\n[profiles.a]\nhost = "á"\nport = 5433\n[queries]\nfolder = "sql"\n')
    config = load_config()
    assert config.default_profile == "b"
    assert dict(config.profiles["a"].keywords) == {"host": "á", "port": "5433"}
    assert config.profiles["b"].dsn == "host=b"
    assert config.queries_folder == tmp_path / "sql"
    assert config.session == {"lock_timeout": "1s"}


def test_a_relative_folder_belongs_to_its_file(tmp_path, monkeypatch):
    personal, _ = config_files()
    write(personal, '[queries]\nfolder = "mine"\n')
    assert load_config().queries_folder == personal.parent / "mine"
    write(personal, '[queries]\nfolder = "~/mine"\n')
    assert load_config().queries_folder == Path.home() / "mine"


def test_no_file_is_an_empty_config():
    assert load_config().profiles == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profil = 'a'", "unknown key 'profil'"),
        ("[profiles.a]\nhots = 'x'", "unknown key 'profiles.a.hots'"),
        ("[queries]\nfolders = 'x'", "unknown key 'queries.folders'"),
        ("[session]\ntimeout = '1s'", "unknown key 'session.timeout'"),
        ("[session]\nlock_timeout = 'soon'", "'session.lock_timeout' is not a time"),
        ("[profiles.a]", "needs either dsn or keywords"),
        ("[profiles.a]\ndsn = 'x'\nhost = 'y'", "needs either dsn or keywords"),
        ("profiles = 'a'", "'profiles' is not a table"),
        ("[profiles]\na = 'x'", "profiles.a is not a table"),
        ("[profiles.a]\nhost = ['x']", "'profiles.a.host' is not a text"),
        ("profile = 'a", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load_config([path])
    assert str(path) in caught.value.message


def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    (tmp_path / "c.toml").mkdir()
    with pytest.raises(UsageError, match="cannot read the config file"):
        load_config([tmp_path / "c.toml"])


def test_a_password_in_a_broken_file_is_not_shown(tmp_path, iacalls):
    write(tmp_path / "iacalls.toml", "[profiles.a]\npassword = s3cret\n")
    outcome = iacalls("db", "tables")
    assert outcome.code == 2
    assert "s3cret" not in outcome.error


def test_profile_on_the_command_line(server, database, iacalls, tmp_path):
    keywords = server.keywords(database)
    lines = "\n".join(f'{key} = "{value}"' for key, value in keywords.items())
    write(tmp_path / "iacalls.toml", f"[profiles.here]\n{lines}\n").chmod(0o600)
    outcome = iacalls("db", "tables", "--profile", "here", "-o", "json")
    assert outcome.code == 0
    assert outcome.json["target"]["source"] == f"profile here of {tmp_path / 'iacalls.toml'}"
    assert iacalls("db", "tables", "--profile", "there").code == 2


def test_session_limits_of_the_config_hold(server, database, use, iacalls, tmp_path):
    use(database)
    write(tmp_path / "iacalls.toml", '[session]\nstatement_timeout = "200ms"\n')
    slow = write(tmp_path / "slow.sql", "-- Slow.\nSELECT pg_sleep(5)")
    outcome = iacalls("report", "run", str(slow))
    assert outcome.code == 1
    assert "statement timeout" in outcome.error
    assert "statement_timeout" in outcome.error


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
def test_a_file_of_another_user_is_not_obeyed(tmp_path, iacalls):
    file = tmp_path / "iacalls.toml"
    file.write_text('[profiles.x]\nhost = "elsewhere"\n')
    os.chown(file, 65534, 65534)
    outcome = iacalls("db", "tables")
    assert outcome.code == 2
    assert "belongs to another user" in outcome.error


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        ('profile = "x"', 0o666, "every user of this machine may write"),
        ('[profiles.x]\nhost = "h"\npassword = "s3cret"', 0o644, "holds a password and others may read it"),
        ('[profiles.x]\ndsn = "postgresql://ana:s3cret@h/x"', 0o640, "holds a password and others may read it"),
        ('[profiles.x]\ndsn = "host=h password=s3cret"', 0o604, "holds a password and others may read it"),
        ('[queries]\nfolder = "~nosuchuser/q"', 0o600, "a home that does not exist"),
        ("a = " + "[" * 100_000, 0o600, "not valid TOML"),
        ("a = 1" + "0" * 100_000, 0o600, "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_trusted_or_read(tmp_path, iacalls, text, mode, words):
    file = tmp_path / "iacalls.toml"
    file.write_text(text)
    file.chmod(mode)
    outcome = iacalls("db", "tables")
    assert outcome.code == 2
    assert words in outcome.error
    assert "s3cret" not in outcome.error
    assert outcome.err.count("\n") == 1


BACKUP = """
[backup]
directory = "/srv/backups"
format = "directory"
compress = "gzip:6"
jobs = 2
lock_wait = "30s"
keep_daily = 7
keep_weekly = 0
keep_monthly = 12
min_keep = 3
max_age = "26h"
max_proven_age = "35d"
min_size = "10MB"
max_shrink = "30%"
on_start = "https://ping.example/start?a='b c'"
on_success = ["/usr/local/bin/tell", "--backup of", ""]
on_failure = "/usr/local/bin/tell --failed 'a b'"
rehearse_timeout = "6h"
hook_timeout = "60s"
"""


def test_every_setting_of_backups_is_read(tmp_path):
    settings = load_config([write(tmp_path / "config.toml", BACKUP)]).backup
    assert settings == BackupSettings(
        directory=Path("/srv/backups"),
        format="directory",
        compress="gzip:6",
        jobs=2,
        lock_wait="30s",
        keep_daily=7,
        keep_weekly=0,
        keep_monthly=12,
        min_keep=3,
        max_age="26h",
        max_proven_age="35d",
        min_size="10MB",
        max_shrink="30%",
        on_start=("https://ping.example/start?a=b c",),
        on_success=("/usr/local/bin/tell", "--backup of", ""),
        on_failure=("/usr/local/bin/tell", "--failed", "a b"),
        hook_timeout="60s",
        rehearse_timeout="6h",
    )
    assert {field.name for field in fields(settings) if not getattr(settings, field.name)} == {"keep_weekly"}


def test_without_settings_of_backups_none_is_made_up():
    assert load_config().backup == BackupSettings()


def test_local_backup_settings_lie_over_the_personal_ones(tmp_path):
    personal, local = config_files()
    write(personal, '[backup]\njobs = 2\nmin_keep = 5\non_start = "true"\n')
    write(local, "[backup]\njobs = 3\n")
    settings = load_config().backup
    assert (settings.jobs, settings.min_keep, settings.on_start) == (3, 5, ("true",))


@pytest.mark.parametrize(
    ("said", "meant"),
    [("mine", "{folder}/mine"), ("~/mine", "{home}/mine"), ("/srv/x", "/srv/x"), ("../x", "{folder}/../x")],
)
def test_the_folder_of_backups_belongs_to_its_file(tmp_path, said, meant):
    personal, _ = config_files()
    write(personal, f'[backup]\ndirectory = "{said}"\n')
    wanted = meant.format(folder=personal.parent, home=Path.home())
    assert load_config().backup.directory == Path(wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keep = 7", "unknown key 'backup.keep'"),
        ("on_sucess = 'x'", "unknown key 'backup.on_sucess'"),
        ("jobs = '2'", "'backup.jobs' is not a number: 2"),
        ("jobs = true", "'backup.jobs' is not a number"),
        ("jobs = 0", "'backup.jobs' is not a number from 1 to 64: 0"),
        ("jobs = 65", "'backup.jobs' is not a number from 1 to 64: 65"),
        ("keep_daily = -1", "'backup.keep_daily' is not a number: -1"),
        ("keep_daily = 1.5", "'backup.keep_daily' is not a number: 1.5"),
        ("min_keep = []", "'backup.min_keep' is not a number"),
        ("directory = 7", "'backup.directory' is not a text"),
        ("directory = ''", "'backup.directory' is not a text"),
        ("directory = '~nosuchuser/x'", "'backup.directory' names a home that does not exist"),
        ("max_age = 26", "'backup.max_age' is not a text"),
        ("lock_wait = 'soon'", "'backup.lock_wait' is not a time: soon"),
        ("lock_wait = '5 d'", "'backup.lock_wait' is not a time: 5 d"),
        ("on_start = ''", "'backup.on_start' is neither a command nor a URL"),
        ("on_start = []", "'backup.on_start' is neither a command nor a URL"),
        ("on_start = ['']", "'backup.on_start' is neither a command nor a URL"),
        ("on_start = ['a', 1]", "'backup.on_start' is neither a command nor a URL"),
        ("on_start = 7", "'backup.on_start' is neither a command nor a URL"),
        ('on_start = "say \'"', "'backup.on_start' is neither a command nor a URL"),
        ("on_start = 'https://ping.example/x --fast'", "'backup.on_start' has something behind its URL"),
    ],
)
def test_what_is_wrong_with_backups_is_named(tmp_path, text, message):
    path = write(tmp_path / "config.toml", f"[backup]\n{text}\n")
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        load_config([path])
    assert str(path) in caught.value.message


def test_backup_has_to_be_a_table(tmp_path):
    with pytest.raises(UsageError, match="'backup' is not a table"):
        load_config([write(tmp_path / "config.toml", "backup = 7\n")])


# --- files that others may write

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")
NOBODY = 65534


@pytest.fixture
def no_waiting():
    """A command that waits for a FIFO fails the test, and does not stop the suite."""

    def fail(*_):
        raise AssertionError("it waits for ever")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "directory", "too large", "loop of links"])
@pytest.mark.parametrize("place", ["iacalls.toml", "config/iacalls/config.toml"])
def test_what_is_no_small_regular_file_is_one_line(tmp_path, iacalls, no_waiting, kind, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(path.parent)
            server.bind(path.name)
            os.chdir(tmp_path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    elif kind == "too large":
        with path.open("wb") as file:
            file.truncate(30 << 30)
    else:
        path.symlink_to(path)
    outcome = iacalls("db", "tables")
    assert outcome.code == 2
    assert place in outcome.error or "/dev/zero" in outcome.error
    assert outcome.err.count("\n") == 1


def test_links_of_ones_own_are_followed(tmp_path):
    write(tmp_path / "dotfiles" / "real.toml", 'profile = "a"\n')
    (tmp_path / "dotfiles" / "link.toml").symlink_to("real.toml")
    (tmp_path / "iacalls.toml").symlink_to("dotfiles/link.toml")
    assert load_config().default_profile == "a"


def test_a_link_to_nowhere_is_no_file(tmp_path):
    (tmp_path / "iacalls.toml").symlink_to("nowhere")
    assert load_config().default_profile == ""


@root_only
@pytest.mark.parametrize("kind", ["link", "second link", "target", "hard link"])
def test_neither_a_file_nor_a_link_of_another_user_is_obeyed(tmp_path, iacalls, kind):
    own = write(tmp_path / "own.toml", '[profiles.x]\nhost = "elsewhere"\n')
    local = tmp_path / "iacalls.toml"
    if kind == "link":
        local.symlink_to(own)
        os.chown(local, NOBODY, NOBODY, follow_symlinks=False)
    elif kind == "second link":
        (tmp_path / "second").symlink_to(own)
        os.chown(tmp_path / "second", NOBODY, NOBODY, follow_symlinks=False)
        local.symlink_to("second")
    elif kind == "target":
        os.chown(own, NOBODY, NOBODY)
        local.symlink_to(own)
    else:
        os.chown(own, NOBODY, NOBODY)
        local.hardlink_to(own)
    outcome = iacalls("db", "tables")
    assert outcome.code == 2
    assert "another user" in outcome.error


@root_only
@pytest.mark.parametrize("seed", range(3))
def test_a_file_exchanged_all_the_time_is_never_obeyed(tmp_path, seed):
    """Another user alternates the file between a link to one of root's and their own."""
    write(tmp_path / "roots.toml", 'profile = "roots"\n')
    theirs = write(tmp_path / "theirs.toml", 'profile = "theirs"\n')
    os.chown(theirs, NOBODY, NOBODY)
    script = """
import os, sys, time
os.setgid(65534); os.setuid(65534)
until = time.monotonic() + 20
while time.monotonic() < until and os.getppid() == int(sys.argv[1]):
    os.symlink("../roots.toml", "new"); os.rename("new", "iacalls.toml")
    os.link("theirs.toml", "new"); os.rename("new", "iacalls.toml")
"""
    folder = tmp_path / "theirs"
    folder.mkdir()
    theirs.rename(folder / "theirs.toml")
    os.chown(folder, NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent.name.startswith(("pytest", "test")):
            parent.chmod(0o755)
    command = [sys.executable, "-c", script, str(os.getpid())]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) as exchanger:
        try:
            obeyed, refused = set(), set()
            until = time.monotonic() + 0.5
            while time.monotonic() < until:
                try:
                    obeyed.add(load_config([folder / "iacalls.toml"]).default_profile)
                except UsageError as error:
                    refused.add("another user" in error.message)
            assert exchanger.poll() is None
        finally:
            exchanger.kill()
    assert obeyed <= {""}
    assert refused <= {True}


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_are_not_obeyed_where_a_group_may_write_them(tmp_path, hook):
    path = write(tmp_path / "config.toml", f'[backup]\n{hook} = "/usr/local/bin/tell"\n')
    path.chmod(0o660)
    with pytest.raises(UsageError, match=f"'backup.{hook}' runs a command, and a group may write the file"):
        load_config([path])
    path.chmod(0o640)
    assert getattr(load_config([path]).backup, hook) == ("/usr/local/bin/tell",)


@pytest.mark.parametrize("text", ['[backup]\nhook_timeout = "5s"\n', 'profile = "a"\n', "[maintain]\ndays = 5\n"])
def test_other_settings_may_be_a_groups(tmp_path, text):
    path = write(tmp_path / "config.toml", text)
    path.chmod(0o660)
    load_config([path])


@pytest.mark.parametrize(
    "command",
    [["db", "tables", "--dsn", "host=127.0.0.1 port=1"], ["backup", "list"], ["backup", "list", "--directory", "~/x"],
     ["maintain", "undo"], ["server", "status"], ["backup", "restore", "~/x", "--into", "x"]],
)  # fmt: skip
def test_a_user_without_a_home_is_told_so_in_one_line(tmp_path, iacalls, monkeypatch, command):
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name)

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    outcome = iacalls(*command)
    assert outcome.code == 2
    assert "no home directory" in outcome.error
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "~").exists()
    for name in ("CONFIG", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    assert iacalls("backup", "list").code == 0


@pytest.mark.parametrize("where", ["[queries]\nfolder", "[backup]\ndirectory", "[maintain]\narchives"])
def test_a_setting_that_needs_a_home_is_named(tmp_path, monkeypatch, where):
    monkeypatch.delenv("HOME")

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    path = write(tmp_path / "config.toml", f'{where} = "~/x"\n')
    with pytest.raises(UsageError, match="names a home"):
        load_config([path])
