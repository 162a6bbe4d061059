"""Backups and archives made by an earlier version are listed, verified, restored and undone by this one."""

import shutil

import pytest
from psycopg import sql

from tests.support import TESTS
from tests.support.servers import OWNER

MADE = TESTS / "fixtures" / "cab8d42"
DATABASE = "iacalls_old"
CUSTOM = "iacalls_old_20261126T012358Z_custom"
DIRECTORY = "iacalls_old_20261126T012359Z_directory"
PLAIN = "iacalls_old_20261126T012400Z_plain"
ARCHIVE = "iacalls_old_20261126T012400Z"
COUNT = "SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM ONLY {} AS t"
COUNT_OBJECTS = (
    "SELECT count(*), md5(string_agg(concat(oid, lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata"
)


def copy(name, target):
    """A copy with the modes that these directories were made with: git keeps others."""
    shutil.copytree(MADE / name, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return target


@pytest.fixture
def backups(tmp_path):
    return copy("backups", tmp_path / "backups")


@pytest.fixture
def archives(tmp_path):
    return copy("archives", tmp_path / "archives")


@pytest.fixture
def old_database(server):
    """The name that the database had; nothing of that name is there before or after."""
    server.drop_database(DATABASE)
    yield DATABASE
    server.drop_database(DATABASE)


@pytest.fixture
def backup(iacalls, backups, server, monkeypatch):
    """Run a backup command on those backups, as a role without superuser."""
    monkeypatch.setenv("IACALLS_DSN", server.dsn("postgres", OWNER))

    def run(command, *arguments):
        outcome = iacalls("backup", command, *arguments, "--directory", str(backups), "-o", "json")
        assert outcome.code == 0, outcome.err
        return outcome

    return run


def read_rows(when):
    """Rows and a hash of each table, as they were."""
    lines = [line.rsplit("|", 2) for line in (MADE / f"rows-{when}.txt").read_text("utf-8").splitlines()]
    return {name: (int(rows), digest or None) for name, rows, digest in lines}


def count_rows(server, database):
    """Rows and a hash of each table, as they are."""
    found = {}
    with server.connect(database) as connection:
        for name in read_rows("before"):
            relation = sql.Identifier(*name.split(".", 1))
            statement = COUNT_OBJECTS if name == "large objects" else sql.SQL(COUNT).format(relation)
            found[name] = connection.execute(statement).fetchone()
    return found


def test_backups_are_listed(backup):
    data = {row["id"]: row for row in backup("list").json["data"]}
    assert {name: row["state"] for name, row in data.items()} == {
        CUSTOM: "verified",
        DIRECTORY: "proven",
        PLAIN: "verified",
    }
    assert {name: row["rows"] for name, row in data.items()} == {CUSTOM: 315, DIRECTORY: 315, PLAIN: 111}


def test_backups_are_verified(backup):
    data = backup("verify", "--all").json["data"]
    assert {row["id"]: row["state"] for row in data} == {CUSTOM: "verified", DIRECTORY: "proven", PLAIN: "verified"}


@pytest.mark.parametrize(("name", "when"), [(CUSTOM, "before"), (DIRECTORY, "before"), (PLAIN, "after")])
def test_backups_are_restored(backup, server, old_database, name, when):
    backup("restore", name, "--into", old_database)
    assert count_rows(server, old_database) == read_rows(when)


@pytest.mark.parametrize("name", [CUSTOM, DIRECTORY, PLAIN])
def test_backups_pass_a_restore_test(backup, server, name):
    backup("rehearse", name, "--dsn", server.dsn("postgres"))
    states = {row["id"]: row["state"] for row in backup("list").json["data"]}
    assert states[name] == "proven"


def test_an_archive_is_undone_after_a_move_to_another_server(backup, iacalls, archives, server, old_database):
    """The last backup of the old server is restored on the new one, under the same name."""
    backup("restore", PLAIN, "--into", old_database)
    target = ("--dsn", server.dsn(old_database, OWNER), "--directory", str(archives), "-o", "json")
    listed = iacalls("maintain", "undo", *target)
    assert [(row["run"], row["state"]) for row in listed.json["data"]] == [(ARCHIVE, "finished")]
    outcome = iacalls("maintain", "undo", ARCHIVE, "--dry-run", *target)
    assert outcome.code == 0, outcome.err
    assert count_rows(server, old_database) == read_rows("after")
    outcome = iacalls("maintain", "undo", ARCHIVE, "--yes", *target)
    assert outcome.code == 0, outcome.err
    assert "another server" in outcome.err
    assert count_rows(server, old_database) == read_rows("before")
    assert [row["state"] for row in iacalls("maintain", "undo", *target).json["data"]] == ["undone"]
