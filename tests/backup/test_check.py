"""`iacalls backup check`: for monitoring, from manifests alone."""

from datetime import UTC, datetime, timedelta

import pytest

from iacalls_cli.operations.backup.lock import only_job
from tests.support.backup_folders import SERVER, make_folder

NOW = datetime.now(UTC)  # when each test begins
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr("tests.backup.test_check.NOW", datetime.now(UTC))


@pytest.fixture
def store(tmp_path):
    return tmp_path / "backups"


@pytest.fixture
def check(iacalls, store, monkeypatch):
    """Run the check where no database could be reached."""
    monkeypatch.setenv("IACALLS_DSN", "host=127.0.0.1 port=1")

    def run(*arguments):
        return iacalls("backup", "check", "--directory", str(store), "-o", "json", *arguments)

    return run


def problems(outcome):
    """The findings of a check that found some, as (database, check, detail); stderr names each."""
    assert outcome.code == 4, outcome.out + outcome.err
    found = [row for row in outcome.json["data"] if row["state"] == "problem"]
    assert outcome.error.startswith(f"iacalls: error: {len(found)} findings: ")
    assert all(row["detail"] in outcome.error for row in found)
    return [(row["database"], row["check"], row["detail"]) for row in found]


def test_a_fresh_backup_is_fine_without_a_database_or_lock(check, store):
    folder = make_folder(store, NOW - HOUR)
    with only_job("backup create", SERVER, "shop"):
        outcome = check()
    assert outcome.code == 0
    assert outcome.err == ""
    assert outcome.json["data"] == [
        {"database": "shop", "check": "age", "state": "ok", "detail": f"{folder.name} is 1 h 0 min old, at most 26 h 0 min"}
    ]  # fmt: skip
    assert outcome.json["target"] == {}


def test_no_backup_is_a_finding(check, store):
    assert problems(check()) == [("", "age", f"there is no full backup in {store}")]
    make_folder(store, NOW, contents="schema")
    assert problems(check()) == [("", "age", f"there is no full backup in {store}")]


@pytest.mark.parametrize(("hours", "limit", "code"), [(27, (), 4), (25, (), 0), (25, ("24h",), 4), (71, ("3d",), 0)])
def test_an_old_one_is_a_finding(check, store, hours, limit, code):
    folder = make_folder(store, NOW - hours * HOUR)
    outcome = check(*(f"--max-age={value}" for value in limit))
    assert outcome.code == code
    if code:
        [(database, what, detail)] = problems(outcome)
        assert (database, what) == ("shop", "age")
        assert detail.startswith(f"{folder.name} is {hours} h 0 min old, at most ")


def test_the_age_is_that_of_the_newest_good_full_one(check, store):
    make_folder(store, NOW - 30 * HOUR)
    make_folder(store, NOW - 3 * HOUR, contents="schema")
    make_folder(store, NOW - 2 * HOUR, state="created")
    make_folder(store, NOW - HOUR, contents="data")
    assert [what for _, what, _ in problems(check())] == ["age"]


def test_each_database_is_checked_by_itself(check, store):
    make_folder(store, NOW - HOUR)
    make_folder(store, NOW - 40 * HOUR, database="iacalls_db")
    assert [(database, what) for database, what, _ in problems(check())] == [("iacalls_db", "age")]


def test_a_small_one_is_a_finding(check, store):
    folder = make_folder(store, NOW, size=2048)
    assert check("--min-size", "2kB").code == 0
    assert problems(check("--min-size", "3kB")) == [
        ("shop", "size", f"{folder.name} has 2.0 kB, at least 3.0 kB"),
    ]


def test_one_that_shrank_by_more_than_the_share_is_a_finding(check, store):
    before = make_folder(store, NOW - 3 * HOUR, size=100_000)
    make_folder(store, NOW - 2 * HOUR, size=10, compression="gzip:6")
    make_folder(store, NOW - 2 * HOUR, size=10, contents="schema", label="schema")
    folder = make_folder(store, NOW - HOUR, size=70_000)
    assert check().code == 0
    assert check("--max-shrink", "29%").code == 4
    [(_, what, detail)] = problems(check("--max-shrink", "20%"))
    assert what == "shrink"
    assert folder.name in detail
    assert before.name in detail
    make_folder(store, NOW, size=48_000)
    assert [what for _, what, _ in problems(check())] == ["shrink"]


def test_one_that_was_proven_too_long_ago_or_never_is_a_finding(check, store):
    make_folder(store, NOW)
    assert check().code == 0
    [(_, what, detail)] = problems(check("--max-proven-age", "35d"))
    assert what == "proven"
    assert detail == "none was ever proven; `iacalls backup rehearse` does that"
    make_folder(store, NOW - 50 * HOUR, state="proven", proven_at=NOW - 48 * HOUR)
    assert check("--max-proven-age", "49h").code == 0
    [(_, what, detail)] = problems(check("--max-proven-age", "47h"))
    assert what == "proven"
    assert detail.startswith("last proven 20")


def test_a_damaged_one_is_a_finding_and_not_the_newest(check, store):
    make_folder(store, NOW - 30 * HOUR)
    damaged = make_folder(store, NOW - HOUR, state="damaged", label="before_migration")
    changed = make_folder(store, NOW, label="x_y")
    (changed / "manifest.json").write_text("{}")
    found = problems(check())
    assert [(database, what) for database, what, _ in found] == [
        ("shop", "damage"),
        ("shop", "damage"),
        ("shop", "age"),
    ]
    assert found[0][2] == f"{changed.name}: manifest.json or SHA256SUMS was changed: the checksum differs"
    assert found[1][2] == f"{damaged.name}: dump.pgdump was changed"


def test_a_file_that_is_gone_or_cut_is_a_finding(check, store):
    make_folder(store, NOW - 30 * HOUR)
    gone, cut = make_folder(store, NOW - HOUR, contents="schema"), make_folder(store, NOW, size=1500)
    (gone / "dump.pgdump").unlink()
    (cut / "dump.pgdump").write_bytes(b"x")
    assert [finding[1:] for finding in problems(check())][:2] == [
        ("files", f"{cut.name}: dump.pgdump has 1 bytes, and had 1,500"),
        ("files", f"{gone.name}: dump.pgdump is missing"),
    ]
    assert [what for _, what, _ in problems(check())] == ["files", "files", "age"]


def test_where_all_are_damaged_there_is_none(check, store):
    make_folder(store, NOW, state="damaged")
    assert [what for _, what, _ in problems(check())] == ["damage", "age"]


def test_one_from_the_future_is_a_finding(check, store):
    folder = make_folder(store, NOW + HOUR)
    assert problems(check()) == [("shop", "clock", f"{folder.name} is from the future")]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--max-age", "soon", "max-age is not a duration: soon"),
        ("--max-age", "26", "max-age is not a duration: 26"),
        ("--max-age", "-1h", "max-age is not a duration: -1h"),
        ("--max-age", "99999999999d", "max-age is too long: 99999999999d"),
        ("--max-age", "9" * 5000 + "d", "max-age is not a duration: 9"),
        ("--max-proven-age", "5 moons", "max-proven-age is not a duration"),
        ("--min-size", "ten", "min-size is not a size: ten"),
        ("--min-size", "9" * 400, "min-size is not a size"),
        ("--max-shrink", "0.3", "max-shrink is not a share: 0.3"),
        ("--max-shrink", "130%", "max-shrink is not a share: 130%"),
    ],
)
def test_a_value_that_means_nothing_is_refused(check, store, option, value, words):
    make_folder(store, NOW)
    outcome = check(option, value)
    assert outcome.code == 2
    assert words in outcome.error
    assert outcome.out == ""


def test_an_empty_value_is_refused_and_not_what_is_usual(check, store):
    make_folder(store, NOW)
    outcome = check("--max-age", "")
    assert outcome.code == 2
    assert "max-age is not a duration: " in outcome.error


@pytest.mark.parametrize("command", ["check", "list", "prune"])
def test_an_empty_folder_name_is_not_the_current_folder(iacalls, tmp_path, command):
    make_folder(tmp_path, NOW)
    outcome = iacalls("backup", command, "--directory", "")
    assert outcome.code == 2
    assert "the folder's name is empty" in outcome.error
    assert iacalls("backup", command, "--directory", ".").code == 0


def test_demands_stand_in_the_config_file_and_options_win(iacalls, store, tmp_path):
    make_folder(store, NOW - 2 * HOUR, size=100)
    make_folder(store, NOW - HOUR, size=60)
    (tmp_path / "iacalls.toml").write_text(
        '[backup]\ndirectory = "backups"\nmax_age = "30min"\nmax_proven_age = "1d"\nmin_size = "1kB"\nmax_shrink = "10%"\n'
    )
    outcome = iacalls("backup", "check", "-o", "json")
    assert [what for _, what, _ in problems(outcome)] == ["age", "size", "shrink", "proven"]
    options = ("--max-age", "2h", "--min-size", "1bytes", "--max-shrink", "50%", "-o", "json")
    assert [what for _, what, _ in problems(iacalls("backup", "check", *options))] == ["proven"]
