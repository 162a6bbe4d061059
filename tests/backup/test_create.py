"""`iacalls backup create`: whole, of one snapshot, under its name only when it is good, or nothing at all."""

import os
import re
import stat
import threading
import time

import pytest

from iacalls_cli.operations.backup import create
from iacalls_cli.operations.backup.store import read_backup
from tests.support.backup_folders import left_in
from tests.support.command_line import run_terminal
from tests.support.servers import OWNER, READER, STRANGER


def copied_lines(dump):
    """Rows in a plain dump, by table."""
    found = re.finditer(r"^COPY public\.(\S+) .*?;\n(.*?)^\\\.$", dump, re.MULTILINE | re.DOTALL)
    return {match[1]: match[2].count("\n") for match in found}


@pytest.mark.parametrize("form", ["custom", "directory", "plain"])
@pytest.mark.parametrize("compress", ["zstd:3", "gzip:2", "none"])
def test_every_format_and_compression_makes_a_verified_backup(
    filled_database, use, create_backup, backup_folder, form, compress
):
    use(filled_database)
    outcome = create_backup("--format", form, "--compress", compress, "--label", "antes-1", "--jobs", "2")
    assert outcome.code == 0, outcome.err
    row = outcome.json["data"][0]
    assert re.fullmatch(rf"{filled_database}_\d{{8}}T\d{{6}}Z_antes-1", row["id"])
    assert (row["state"], row["contents"], row["format"]) == ("verified", "full", form)
    assert row["compression"] == compress
    assert read_backup(backup_folder / row["id"]).is_good
    assert left_in(backup_folder) == [row["id"]]


def test_only_the_owner_may_look_at_a_backup(filled_database, use, new_backup, backup_folder):
    use(filled_database)
    before = os.umask(0)  # the worst there is
    try:
        made = [new_backup("--format", form)[0] for form in ("custom", "directory", "plain")]
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for one in made for path in (backup_folder, one, *one.rglob("*"))}
    assert len(modes) > 15
    assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}


def test_the_manifest_says_what_the_backup_is_of(server, filled_database, use, new_backup):
    use(filled_database)
    _, manifest = new_backup()
    with server.connect(filled_database, OWNER) as owner:
        counted = {
            table.name: owner.execute(f'SELECT count(*) FROM public."{table.name}"').fetchone()[0]
            for table in manifest.tables
        }
        version = owner.execute("SELECT current_setting('server_version')").fetchone()[0]
    assert {table.name: table.rows for table in manifest.tables} == counted
    assert len(counted) == 9
    assert manifest.database["name"] == filled_database
    assert manifest.database["server_version"] == version
    assert manifest.started_at <= manifest.ended_at
    assert any("WhatsApp" in line for line in manifest.not_included)


def test_the_rows_counted_are_those_dumped_while_others_insert(server, large_database, use, new_backup):
    """A count outside the dump's snapshot would differ: rows come all the time."""
    use(large_database)
    stop = threading.Event()

    def insert():
        with server.connect(large_database, OWNER) as other:
            while not stop.is_set():
                other.execute("INSERT INTO public.grande SELECT 0, 'x' FROM generate_series(1, 50)")

    writer = threading.Thread(target=insert)
    writer.start()
    try:
        made, manifest = new_backup("--format", "plain", "--compress", "none")
    finally:
        stop.set()
        writer.join()
    with server.connect(large_database, OWNER) as owner:
        (rows,) = owner.execute("SELECT count(*) FROM public.grande").fetchone()
    assert copied_lines((made / "dump.sql").read_text()) == {"grande": manifest.rows}
    assert 200_000 <= manifest.rows < rows


def test_a_table_made_after_the_plan_is_counted(server, filled_database, use, new_backup, monkeypatch):
    """The dump's snapshot has it, so the manifest must have it too."""
    use(filled_database)
    check = "iacalls_cli.commands.backup.create.require_disk_space"

    def come_and_go(*_):
        with server.connect(filled_database, OWNER) as owner:
            owner.execute("CREATE TABLE public.late AS SELECT 1 AS id; DROP TABLE public.gcp_documents CASCADE")

    monkeypatch.setattr(check, come_and_go)
    made, manifest = new_backup("--format", "plain", "--compress", "none")
    dumped = copied_lines((made / "dump.sql").read_text())
    assert dumped == {table.name: table.rows for table in manifest.tables}
    assert dumped["late"] == 1
    assert "gcp_documents" not in dumped


@pytest.mark.parametrize(
    ("contents", "has_tables", "has_rows"), [("--schema-only", True, False), ("--data-only", False, True)]
)
def test_half_the_contents(filled_database, use, new_backup, contents, has_tables, has_rows):
    use(filled_database)
    made, manifest = new_backup(contents, "--format", "plain", "--compress", "none")
    dump = (made / "dump.sql").read_text()
    assert ("CREATE TABLE" in dump, "COPY public." in dump) == (has_tables, has_rows)
    assert (manifest.rows > 0, manifest.contents) == (has_rows, contents[2:].removesuffix("-only"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--schema-only", "--data-only"], "contradict"),
        (["--format", "tar"], "--format cannot be 'tar'"),
        (["--compress", "zstd:20"], "--compress cannot be 'zstd:20'"),
        (["--compress", "gzip:0"], "--compress cannot be 'gzip:0'"),
        (["--compress", "lz4"], "--compress cannot be 'lz4'"),
        (["--jobs", "0"], "jobs"),
        (["--label", "../up"], "--label cannot be"),
        (["--label", "ñ"], "--label cannot be"),
        (["--label", "x" * 61], "--label cannot be"),
        # These names would be taken for a killed job's folder, and for a backup of another time.
        (["--label", "x.partial"], "--label cannot be"),
        (["--label", "x_20200101T000000Z"], "--label cannot be"),
    ],
)
def test_unusable_options_are_refused_before_anything(database, use, create_backup, backup_folder, options, message):
    use(database)
    outcome = create_backup(*options)
    assert outcome.code == 2
    assert message in outcome.error
    assert left_in(backup_folder) == []


def test_dry_run_writes_nothing(database, use, create_backup, tmp_path):
    use(database)
    before = sorted(tmp_path.rglob("*"))
    outcome = create_backup("--dry-run")
    assert outcome.code == 0
    assert "plan: full backup of 9 tables" in outcome.err
    assert "with pg_dump of PostgreSQL" in outcome.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_role_without_rights_is_refused_before_dumping(server, filled_database, use, create_backup, backup_folder):
    use(filled_database, READER)
    with server.connect(filled_database, OWNER) as owner:
        owner.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {READER}")
        assert create_backup().code == 0
        owner.execute(f"REVOKE SELECT ON public.clients FROM {READER}")
    kept = left_in(backup_folder)
    outcome = create_backup()
    assert outcome.code == 1
    assert f"the role {READER} cannot dump {filled_database}: it lacks SELECT on table clients." in outcome.error
    assert left_in(backup_folder) == kept


def test_a_role_without_any_rights_is_told_the_first_of_them(database, use, create_backup, backup_folder):
    use(database, STRANGER)
    outcome = create_backup()
    assert outcome.code == 1
    assert "SELECT on table batch_calls" in outcome.error
    assert re.search(r"and \d+ more", outcome.error)
    assert left_in(backup_folder) == []


@pytest.mark.parametrize("role", [READER, OWNER])
def test_row_level_security_that_would_hide_rows_is_refused(
    server, filled_database, use, create_backup, backup_folder, role
):
    use(filled_database, role)
    with server.connect(filled_database, OWNER) as owner:
        owner.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {READER}")
        owner.execute("ALTER TABLE public.clients ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        owner.execute("CREATE POLICY few ON public.clients USING (id < 3)")
    outcome = create_backup()
    assert outcome.code == 1
    assert "it lacks BYPASSRLS on table clients" in outcome.error
    assert left_in(backup_folder) == []


@pytest.mark.parametrize("locked_after_the_plan", [False, True])
def test_a_locked_table_ends_the_wait_with_its_name(
    server, filled_database, use, create_backup, backup_folder, configure, monkeypatch, locked_after_the_plan
):
    """pg_dump by itself would wait for ever."""
    use(filled_database)
    configure('[backup]\nlock_wait = "1s"\n')
    with server.connect(filled_database, OWNER) as other, other.transaction():
        other.execute("SET application_name = 'migration'")
        lock = lambda *_: other.execute("LOCK TABLE public.clients IN ACCESS EXCLUSIVE MODE")  # noqa: E731
        if locked_after_the_plan:
            monkeypatch.setattr("iacalls_cli.commands.backup.create.require_disk_space", lock)
        else:
            lock()
        outcome = create_backup()
        pid = other.info.backend_pid
    assert outcome.code == 1
    assert f"waited 1s for a table that another session locks: clients (session {pid}, migration)" in outcome.error
    assert left_in(backup_folder) == []


@pytest.mark.parametrize("text", ["0s", "30", "bald"])
def test_a_lock_wait_without_end_is_refused(database, use, create_backup, configure, text):
    use(database)
    configure(f'[backup]\nlock_wait = "{text}"\n')
    outcome = create_backup()
    assert outcome.code == 2
    assert "backup.lock_wait" in outcome.error


def test_limits_on_transactions_do_not_end_a_long_dump(server, filled_database, use, create_backup, monkeypatch):
    """The snapshot's session waits for pg_dump, however long that takes, and a limit of the database's is not for it."""
    with server.connect("postgres") as admin:
        admin.execute(f"ALTER DATABASE {filled_database} SET idle_in_transaction_session_timeout = '1s'")
        if server.major >= 17:
            admin.execute(f"ALTER DATABASE {filled_database} SET transaction_timeout = '1s'")
    use(filled_database)
    run_dump = create.run_dump

    def run_long(*arguments):
        time.sleep(1.5)
        return run_dump(*arguments)

    monkeypatch.setattr(create, "run_dump", run_long)
    assert create_backup().code == 0


def test_a_terminal_sees_the_tables_go_by(server, filled_database, backup_folder):
    env = {"IACALLS_DSN": server.dsn(filled_database, OWNER)}
    code, screen = run_terminal("backup", "create", "--directory", str(backup_folder), env=env)
    assert code == 0, screen
    assert "call_records" in screen
    assert "is complete and read back" in screen


def test_a_user_without_a_name_makes_backups_too(filled_database, use, create_backup, monkeypatch):
    """As in a container that runs under a bare number."""
    use(filled_database)

    def unknown():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert create_backup("--schema-only").code == 0
