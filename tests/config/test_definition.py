"""What follows from the definition of the config files: defaults in the help, `config show`, `config check`, the docs."""

import json
from dataclasses import fields

import pytest

from iacalls_cli.commands.backup.check import read_demands
from iacalls_cli.config.definition import HOOKS, TABLES, BackupSettings, Config, MaintainSettings
from iacalls_cli.config.file import config_files, load_config, read_config
from iacalls_cli.database.connection import REPORTING
from iacalls_cli.operations.backup.check import Demands
from iacalls_cli.operations.backup.prune import Retention
from iacalls_cli.operations.maintain.cleanup.protection import RUNNING_WITHIN
from iacalls_cli.output.write import Format
from iacalls_cli.units import read_duration
from tests.support import ROOT
from tests.support.cli_reference import walk
from tests.support.command_line import run_process
from tests.support.config_reference import reference

# What asks before something is deleted, or says where: never a default of a file's.
FORBIDDEN = {"yes", "confirm", "dsn", "profile", "archive", "no_archive", "dry_run", "only", "rules", *HOOKS}
CANARY = "s3cret-canary"
SETTINGS = """
profile = "a"
[profiles.a]
host = "db"
password = "s3cret-canary"
[profiles.b]
dsn = "postgresql://ana:s3cret-canary@db/x"
pooler = "session"
[profiles.c]
host = "db"
options = "-c password=s3cret-canary"
[queries]
folder = "sql"
[session]
lock_timeout = "5s"
[backup]
directory = "/srv/backups"
format = "plain"
compress = "none"
jobs = 3
keep_daily = 2
keep_weekly = 0
keep_monthly = 1
min_keep = 0
max_age = "30h"
max_proven_age = "9d"
min_size = "2MB"
max_shrink = "40%"
on_start = "https://ana:s3cret-canary@ping.example/s3cret-canary?x=s3cret-canary"
on_success = ["/usr/local/bin/tell", "s3cret-canary"]
on_failure = "/usr/local/bin/tell"
[maintain]
archives = "old"
keep_archives = "99d"
days = 45
failed_call_days = 46
max_duration = "50m"
pause = "51ms"
[maintain.rules.mine]
table = "users"
age_column = "created_at"
age = "90d"
"""
BROKEN = """
nonsense = 1
[profiles.a]
hots = "x"
[session]
lock_timeout = "soon"
[backup]
jobs = 0
compress = "lzma"
format = "tar"
max_age = "6m"
on_start = []
[maintain]
max_duration = "0s"
[maintain.rules.mine]
table = "users"
age = "soon"
nonsense = 1
[maintain.rules.whatsapp]
table = "users"
"""


@pytest.fixture
def personal(tmp_path):
    """Write the personal config file; returns its path."""

    def configure(text):
        path = config_files()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        path.chmod(0o600)
        return path

    return configure


def test_defaults_are_the_same_wherever_they_are():
    backup, maintain, session = BackupSettings(), MaintainSettings(), TABLES["session"]()
    assert Demands() == read_demands(backup.max_age, backup.min_size, backup.max_shrink, backup.max_proven_age)
    assert Retention() == Retention(backup.keep_daily, backup.keep_weekly, backup.keep_monthly, backup.min_keep)
    assert read_duration("running_within", maintain.running_within) == RUNNING_WITHIN
    assert (REPORTING.statement_timeout, REPORTING.lock_timeout) == (session.statement_timeout, session.lock_timeout)


def test_every_default_passes_its_own_check(personal):
    for name, table in TABLES.items():
        for item in fields(table):
            if isinstance(item.default, str | int):
                personal(f"[{name}]\n{item.name} = {json.dumps(item.default)}\n")
                config = load_config()
                held = config.session[item.name] if name == "session" else getattr(getattr(config, name), item.name)
                assert held == item.default


@pytest.mark.parametrize("group", ["backup", "maintain"])
def test_forbidden_keys_are_never_defaults_of_options(personal, group):
    personal(SETTINGS)
    defaults = load_config().option_defaults(group)
    assert not FORBIDDEN & set(defaults)
    # A true flag would be shown as [default: no-flag].
    assert not any(isinstance(value, bool) for value in defaults.values())
    parameters = {
        parameter.name
        for path, _, command in walk()
        if path.startswith(f"iacalls {group} ")
        for parameter in command.params
    }
    assert set(defaults) <= parameters
    assert set(defaults) == {item.metadata["option"] for item in fields(TABLES[group])} - {""}


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("backup create", ["/srv/backups", "plain", "none", "3"]),
        ("backup prune", ["2", "0", "1", "/srv/backups"]),
        ("backup check", ["30h", "9d", "2MB", "40%"]),
        ("maintain cleanup", ["45", "46", "50m", "51ms", "99d"]),
    ],
)
def test_the_help_shows_the_defaults_of_the_config_file(personal, iacalls, monkeypatch, command, shown):
    monkeypatch.setenv("COLUMNS", "200")
    before = iacalls(*command.split(), "--help").out
    personal(SETTINGS)
    after = iacalls(*command.split(), "--help").out
    for value in shown:
        assert f"[default: {value}]" in after
    assert before != after
    assert "[default: no-" not in after


@pytest.mark.parametrize("text", ["broken", BROKEN])
@pytest.mark.parametrize("arguments", [["--help"], ["backup", "--help"], ["backup", "create", "-h"], ["maintain", "cleanup", "--help"], ["db", "verify", "--help"]])  # fmt: skip
def test_a_broken_file_never_stops_the_help(personal, iacalls, text, arguments):
    personal(text)
    outcome = iacalls(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage: iacalls" in outcome.out


def test_a_broken_file_never_stops_completion(personal):
    personal(BROKEN)
    environment = {"_IACALLS_COMPLETE": "complete_bash", "COMP_WORDS": "iacalls backup create --for", "COMP_CWORD": "3"}
    outcome = run_process(env=environment)
    assert (outcome.out.split(), outcome.err) == (["--format"], "")


@pytest.mark.parametrize("command", ["backup list", "backup prune", "maintain undo", "maintain cleanup", "db tables", "config show", "report check"])  # fmt: skip
def test_a_broken_file_stops_other_commands(personal, iacalls, command):
    path = personal("[backup]\nkeep = 3\n")
    outcome = iacalls(*command.split())
    assert outcome.code == 2
    assert f"{path}: unknown key 'backup.keep'" in outcome.error
    assert outcome.err.count("\n") == 1


def test_options_win_over_the_file_and_the_file_over_defaults(personal, iacalls, tmp_path):
    personal(f'[backup]\ndirectory = "{tmp_path}/one"\n')
    assert f"{tmp_path}/one" in iacalls("backup", "list").err
    assert f"{tmp_path}/two" in iacalls("backup", "list", "--directory", "two").err


def test_show_tells_values_and_sources(personal, iacalls, tmp_path):
    path = personal(SETTINGS)
    local = tmp_path / "iacalls.toml"
    local.write_text("[backup]\njobs = 4\n")
    rows = {row["key"]: (row["value"], row["source"]) for row in iacalls("config", "show", "-o", "json").json["data"]}
    assert rows["backup.jobs"] == (4, str(local))
    assert rows["backup.max_age"] == ("30h", str(path))
    assert rows["backup.lock_wait"] == ("30s", "default")
    assert rows["session.lock_timeout"] == ("5s", str(path))
    assert rows["session.statement_timeout"] == ("15min", "default")
    assert rows["maintain.archives"] == (str(path.parent / "old"), str(path))
    assert rows["maintain.rules.mine.archive"] == (True, str(path))
    assert rows["profile"] == ("a", str(path))
    assert rows["profiles.a.password"] == ("***", str(path))
    assert rows["backup.on_start"] == ("https://ping.example/…", str(path))
    assert rows["backup.on_success"] == ("/usr/local/bin/tell …", str(path))


@pytest.mark.parametrize("output", list(Format))
def test_show_never_shows_a_secret(personal, iacalls, output):
    personal(SETTINGS)
    outcome = iacalls("config", "show", "-o", output)
    assert outcome.code == 0
    assert "30h" in outcome.out
    assert CANARY not in outcome.out + outcome.err


def test_show_names_every_key_without_a_file(iacalls):
    outcome = iacalls("config", "show", "-o", "json")
    rows = {row["key"]: row for row in outcome.json["data"]}
    wanted = {f"{name}.{item.name}" for name, table in TABLES.items() for item in fields(table)} - {"maintain.rules"}
    assert set(rows) == {"profile", *wanted}
    assert {row["source"] for row in rows.values()} == {"default"}


def test_check_without_a_file_is_fine(iacalls):
    outcome = iacalls("config", "check", "-o", "json")
    assert (outcome.code, outcome.json["data"]) == (0, [])


def test_check_of_a_good_file_is_fine(personal, iacalls):
    path = personal(SETTINGS)
    outcome = iacalls("config", "check")
    assert outcome.code == 0
    assert f"no findings in {path}" in outcome.err


def test_check_names_file_table_rule_and_key_of_all_findings(personal, iacalls, tmp_path):
    path = personal(BROKEN)
    local = tmp_path / "iacalls.toml"
    local.write_text("[maintain]\ndays = 1\n")
    outcome = iacalls("config", "check", "-o", "json")
    assert outcome.code == 4
    found = {(row["file"], row["table"], row["rule"], row["key"]) for row in outcome.json["data"]}
    assert found == {
        (str(path), None, None, "nonsense"),
        (str(path), "profiles.a", None, "hots"),
        (str(path), "session", None, "lock_timeout"),
        (str(path), "backup", None, "jobs"),
        (str(path), "backup", None, "compress"),
        (str(path), "backup", None, "format"),
        (str(path), "backup", None, "max_age"),
        (str(path), "backup", None, "on_start"),
        (str(path), "maintain", None, "max_duration"),
        (str(path), "maintain", "mine", "age"),
        (str(path), "maintain", "mine", "nonsense"),
        (str(path), "maintain", "mine", None),
        (str(path), "maintain", "whatsapp", None),
        (str(local), "maintain", None, None),
    }
    assert all(row["finding"] and row["hint"] for row in outcome.json["data"])
    table = iacalls("config", "check")
    assert table.code == 4
    assert "unknown key 'profiles.a.hots'" in table.out
    assert f"{len(outcome.json['data'])} findings in the config files" in table.error


@pytest.mark.parametrize("text", ["broken = ", "profile = 's3cret-canary"])
def test_check_of_what_is_no_toml(personal, iacalls, text):
    path = personal(text)
    outcome = iacalls("config", "check", "-o", "json")
    assert outcome.code == 4
    assert [row["file"] for row in outcome.json["data"]] == [str(path)]
    assert CANARY not in outcome.out


def test_what_is_wrong_with_one_file_hides_nothing_of_the_other(personal, tmp_path):
    personal("broken")
    (tmp_path / "iacalls.toml").write_text("[backup]\njobs = 4\n")
    config, problems = read_config()
    assert config == Config(backup=BackupSettings(jobs=4))
    assert len(problems) == 1


@pytest.mark.golden
def test_the_page_of_the_configuration_is_in_step(golden):
    golden(ROOT / "docs" / "config.md", reference())


def test_the_page_lists_every_key_with_its_default():
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    for table in TABLES.values():
        for item in fields(table):
            if item.name != "rules":
                default = f'"{item.default}"' if isinstance(item.default, str) else str(item.default)
                cell = f"`{default}`" if isinstance(item.default, str | int) else ""
                assert f"| `{item.name}` | {cell} |" in page
