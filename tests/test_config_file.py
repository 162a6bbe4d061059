"""The config files: what they say, and how they are refused."""

import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from iacalls_cli.config.backup import BackupSettings
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


def test_the_local_files_settings_of_backups_lie_over_the_personal_ones(tmp_path):
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
