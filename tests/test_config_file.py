"""The config files: what they say, and how they are refused."""

import os
import re
from pathlib import Path

import pytest

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
