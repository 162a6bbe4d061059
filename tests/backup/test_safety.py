"""What must never happen with backups: the wrong database replaced, a bad one called good, a row in an error."""

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.backup.manifest import read_manifest, write_manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, read_proof, write_proof
from iacalls_cli.operations.backup.snapshot import exported_snapshot, lock_tables, read_source
from tests.support.backup_folders import NOON, make_folder
from tests.support.servers import OWNER, free_port


@pytest.fixture
def backup(filled_database, use, new_backup):
    """A good backup of the target, its folder."""
    use(filled_database)
    return new_backup()[0]


def of_another_server(folder):
    """Let a backup say that it is of another server; everything else about it stays right."""
    manifest = read_manifest(folder)
    changed = replace(manifest, database={**manifest.database, "system_identifier": "7000000000000000001"})
    write_manifest(folder, changed)
    write_proof(folder, Proof(manifest_digest(folder), verified_at="2026-01-01T00:00:00Z"))


def test_another_servers_backup_takes_no_place_by_accident(filled_database, backup, backup_folder, iacalls):
    of_another_server(backup)
    arguments = ["--replace", "--directory", str(backup_folder), "--dry-run"]
    for name in ("newest", filled_database, backup.name[:-1]):
        outcome = iacalls("backup", "restore", name, *arguments)
        assert outcome.code == 2
        assert f"name it in full: {backup.name}" in outcome.error
    outcome = iacalls("backup", "restore", backup.name, *arguments)
    assert outcome.code == 0
    assert f"warning: {backup.name}" in outcome.err
    assert f"is not a backup of {filled_database} on this server" in outcome.err


def test_the_latest_of_two_servers_is_the_targets_own(
    filled_database, backup, new_backup, backup_folder, iacalls, monkeypatch
):
    """And where the target cannot be asked, it has to be named."""
    own = new_backup()[0]
    of_another_server(backup)
    arguments = ["--into", "other", "--directory", str(backup_folder), "--dry-run"]
    for name in ("newest", "latest", filled_database):
        outcome = iacalls("backup", "restore", name, *arguments)
        assert outcome.code == 0, outcome.err
        assert own.name in outcome.err
    monkeypatch.setenv("IACALLS_DSN", f"host=127.0.0.1 port={free_port()} dbname=nothing connect_timeout=2")
    outcome = iacalls("backup", "verify", "latest", "--directory", str(backup_folder))
    assert outcome.code == 2
    assert "several databases or servers" in outcome.error


def test_a_damaged_latest_one_is_passed_over_and_named(filled_database, backup, new_backup, backup_folder, iacalls):
    made = new_backup()[0]
    # Of the next second, at the least.
    moment = datetime.now(UTC) + timedelta(seconds=2)
    later = made.rename(made.with_name(f"{filled_database}_{moment:%Y%m%dT%H%M%SZ}"))
    (later / "manifest.json").write_text("{}")
    outcome = iacalls("backup", "restore", "latest", "--into", "other", "--directory", str(backup_folder), "--dry-run")
    assert outcome.code == 0, outcome.err
    assert f"passed over, because it is damaged: {later.name}" in outcome.err
    assert backup.name in outcome.err


def test_list_and_check_take_a_database(filled_database, backup, backup_folder, iacalls):
    make_folder(backup_folder, NOON)
    arguments = ["--directory", str(backup_folder), "-o", "json"]
    listed = iacalls("backup", "list", "shop", *arguments).json["data"]
    assert [row["id"] for row in listed] == ["shop_20260315T120000Z"]
    assert len(iacalls("backup", "list", *arguments).json["data"]) == 2
    assert iacalls("backup", "check", filled_database, *arguments).code == 0
    assert iacalls("backup", "check", "shop", *arguments).code == 4
    nothing = iacalls("backup", "check", "nothing", *arguments)
    assert nothing.code == 4
    assert "there is no full backup of nothing" in nothing.out


def test_sound_files_do_not_make_good_what_a_rehearsal_found(backup, backup_folder, iacalls):
    digest = manifest_digest(backup)
    write_proof(backup, Proof(digest, verified_at="2026-01-01T00:00:00Z", damage="rehearsal: rows: clients has 1 rows"))
    outcome = iacalls("backup", "verify", "--directory", str(backup_folder), "-o", "json")
    assert outcome.code == 4
    assert outcome.json["data"][0]["state"] == "damaged"
    assert read_proof(backup).damage.startswith("rehearsal: ")
    plan = iacalls("backup", "restore", "newest", "--into", "other", "--directory", str(backup_folder), "--dry-run")
    assert "clients has 1 rows" in plan.err


def test_an_impossible_rehearsal_is_recorded_and_no_damage(server, filled_database, backup, backup_folder, iacalls):
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("CREATE FUNCTION public.fails() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'ok' $$")
        connection.execute("CREATE TABLE public.picky (a text CHECK (public.fails() = 'ok'))")
        connection.execute("INSERT INTO public.picky VALUES ('x')")
        # What a dump brings back, and no new row may have.
        connection.execute(
            "CREATE OR REPLACE FUNCTION public.fails() RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'no' $$"
        )
    made = iacalls("backup", "create", "--directory", str(backup_folder), "--label", "picky", "-o", "json").json[
        "data"
    ][0]
    dsn = server.dsn(filled_database)
    outcome = iacalls("backup", "rehearse", made["id"], "--directory", str(backup_folder), "--dsn", dsn)
    assert outcome.code == 1
    listed = iacalls("backup", "list", "--directory", str(backup_folder), "-o", "json").json["data"]
    entry = next(row for row in listed if row["id"] == made["id"])
    assert entry["state"] == "verified"
    assert entry["finding"].startswith("the last rehearsal failed: ")
    # Of the row that was refused nothing is told: it might be a hash.
    assert "Failing row" not in outcome.err + entry["finding"]


def test_a_tablespace_that_is_missing_is_named_and_no_obstacle(backup, tmp_path, iacalls, server, empty_database, use):
    dump = tmp_path / "dump.sql"
    dump.write_text(
        "--\n-- PostgreSQL database dump\n--\n\nSET default_tablespace = fast_disk;\n\n"
        "CREATE TABLE public.t (\n    a integer\n);\n\n\nCOPY public.t (a) FROM stdin;\n1\n\\.\n\n\n"
        "SET default_tablespace = fast_disk;\n\nCREATE INDEX t_a ON public.t (a);\n\n"
        "--\n-- PostgreSQL database dump complete\n--\n"
    )
    use(empty_database)
    name = f"{empty_database}_new"
    outcome = iacalls("backup", "restore", str(dump), "--into", name)
    assert outcome.code == 0, outcome.err
    assert "tablespaces that this server does not have: fast_disk" in outcome.err
    server.drop_database(name)


def test_no_truncate_comes_between_the_dump_and_the_count(server, filled_database):
    """A TRUNCATE that waits for the dump would otherwise empty a table before its rows are counted."""
    began = threading.Event()

    def empty():
        with server.connect(filled_database, OWNER) as other:
            other.execute("SET lock_timeout = '300ms'")
            try:
                other.execute("TRUNCATE public.whatsapp_conversations")
            except DatabaseError:  # it waited for the lock
                began.set()

    with server.connect(filled_database, OWNER) as connection, exported_snapshot(connection, "1s"):
        lock_tables(connection, read_source(connection))
        thread = threading.Thread(target=empty)
        thread.start()
        thread.join()
    assert began.is_set()


def test_a_key_with_a_password_is_not_shown_in_arguments(filled_database, server, monkeypatch, iacalls):
    monkeypatch.setenv("IACALLS_DSN", server.dsn(filled_database, OWNER) + " sslpassword=geheim")
    outcome = iacalls("backup", "create")
    assert outcome.code == 2
    assert "sslpassword" in outcome.error
    assert "geheim" not in outcome.err


@pytest.mark.parametrize(
    "statement",
    [
        "drop database {victim};", "/* a */ Drop /* b */ DATABASE {victim};", "-- a\nALTER\nDATABASE {victim} RENAME TO x;",
        "SELECT 1; DROP DATABASE {victim};", "create role intruder;", "ALTER SYSTEM SET work_mem = '1MB';",
        "DROP USER {victim};", "COPY public.t FROM PROGRAM 'true';", "copy (select 1) to\nprogram 'true';",
    ],
)  # fmt: skip
def test_a_dump_changes_nothing_beyond_its_new_database(server, empty_database, use, iacalls, tmp_path, statement):
    victim = server.create_database()
    dump = tmp_path / "dump.sql"
    dump.write_text(
        "--\n-- PostgreSQL database dump\n--\n\nCREATE TABLE public.t (\n    a integer\n);\n\n"
        + statement.format(victim=victim)
        + "\n\n--\n-- PostgreSQL database dump complete\n--\n"
    )
    use(empty_database, "")
    outcome = iacalls("backup", "restore", str(dump), "--into", f"{empty_database}_new")
    assert outcome.code == 2, outcome.err
    assert "the whole server" in outcome.error
    with server.connect("postgres") as connection:
        names = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
    assert victim in names
    assert not any(name.startswith(f"{empty_database}_new") for name in names)
    server.drop_database(victim)


def test_a_pipe_is_no_dump(iacalls, tmp_path, use, empty_database):
    use(empty_database)
    os.mkfifo(tmp_path / "pipe")
    outcome = iacalls("backup", "restore", str(tmp_path / "pipe"), "--into", "other")
    assert outcome.code == 2
    assert "neither a file nor a folder" in outcome.error
