"""`iacalls maintain cleanup`: a plan that tells the truth, and what becomes of it."""

import json
import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from iacalls_cli.commands.maintain.cleanup_result import space_lines
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.operations.maintain.archive.format import MANIFEST
from iacalls_cli.operations.maintain.cleanup import delete, ranges
from iacalls_cli.operations.maintain.vacuum_table import Measure, VacuumResult
from tests.support.cleanups import archived, by_name, rows_of
from tests.support.command_line import run_process, run_terminal
from tests.support.servers import OWNER, READER, SUPERUSER, make_private_server, remove_private_server

FEW = """
INSERT INTO whatsapp_conversations (phone_number, conversation_summary, created_at)
SELECT '+57' || n, repeat('señal ', 40), timestamp '2020-01-01' + n * interval '1 hour' FROM generate_series(1, 300) AS n;
INSERT INTO whatsapp_conversations (phone_number, created_at) SELECT '+57' || n, now() FROM generate_series(1, 100) AS n;
INSERT INTO call_records (phone_number, status, created_at)
SELECT '+57' || n, CASE n % 2 WHEN 0 THEN 'failed' ELSE 'ended' END, timestamp '2020-01-01' FROM generate_series(1, 80) AS n;
INSERT INTO call_records (phone_number, status, created_at)
SELECT '1', 'failed', now() AT TIME ZONE 'UTC' - interval '45 days' FROM generate_series(1, 7) AS n;
"""


@pytest.fixture
def owner(server, database, use):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    with server.connect(database, OWNER) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@pytest.fixture
def archives(tmp_path):
    return tmp_path / "archivos"


@pytest.fixture
def cleanup(iacalls, archives):
    """Run a cleanup with further options."""
    return lambda *options: iacalls("maintain", "cleanup", "--directory", str(archives), "-o", "json", *options)


def test_the_plan_tells_what_is_old(owner, cleanup, archives):
    owner.execute(FEW)
    outcome = cleanup("--dry-run")
    assert outcome.code == 0
    assert not archives.exists()
    answer = outcome.json
    assert set(answer) == {"command", "target", "data", "effects", "kept", "stuck", "problems"}
    assert (answer["command"], answer["effects"], answer["kept"]) == ("maintain cleanup", [], [])
    assert (answer["stuck"], answer["problems"]) == ([], [])
    rules = by_name(answer["data"])
    assert list(rules["whatsapp"]) == [
        "rule", "table", "rows", "bytes", "cut_off", "age_column", "oldest", "newest", "kept", "archive", "triggers",
    ]  # fmt: skip
    whatsapp, calls = rules["whatsapp"], rules["failed-calls"]
    assert (whatsapp["rows"], whatsapp["oldest"], whatsapp["newest"]) == (
        300,
        "2020-01-01 01:00:00",
        "2020-01-13 12:00:00",
    )
    assert (calls["rows"], calls["oldest"], calls["kept"], calls["archive"]) == (40, "2020-01-01 00:00:00", 0, True)
    # Told apart from other ways to count: the row as a whole, without its header.
    (size,) = owner.execute(
        "SELECT sum(pg_column_size(w.*)) FROM whatsapp_conversations AS w WHERE created_at < now() - interval '30 days'"
    ).fetchone()
    assert abs(whatsapp["bytes"] - size) / size < 0.1
    for rule, days in ((whatsapp, 30), (calls, 60)):
        cut_off = datetime.fromisoformat(rule["cut_off"])
        assert cut_off.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - timedelta(days=days) - cut_off) < timedelta(minutes=1)
    assert len(rows_of(owner, "whatsapp_conversations")) == 400


def test_the_bytes_are_those_that_are_stored(owner, cleanup):
    """Compressed and toasted values count as what they take, and asking for that does not unpack them."""
    owner.execute(
        "INSERT INTO whatsapp_conversations (phone_number, conversation_summary, created_at) "
        "SELECT '1', repeat(md5(n::text), 20000) || string_agg(md5(n * g || ''), ''), '2020-01-01' "
        "FROM generate_series(1, 20) AS n, generate_series(1, 1000) AS g GROUP BY n"
    )
    (heap,) = owner.execute("SELECT pg_table_size('whatsapp_conversations')").fetchone()
    (unpacked,) = owner.execute("SELECT sum(octet_length(conversation_summary)) FROM whatsapp_conversations").fetchone()
    assert unpacked > 12_000_000
    size = by_name(cleanup("--dry-run").json["data"])["whatsapp"]["bytes"]
    assert 0.7 * heap < size < 1.1 * heap


def test_the_documented_cron_line(owner, iacalls):
    owner.execute(FEW)
    done = run_process("maintain", "cleanup", "--days", "30")
    assert done.code == 0, done.err
    assert len(rows_of(owner, "whatsapp_conversations")) == 100
    # 45 days: --days never makes failed calls younger.
    assert owner.execute("SELECT status, count(*) FROM call_records GROUP BY 1 ORDER BY 1").fetchall() == [
        ("ended", 40),
        ("failed", 7),
    ]
    assert "archived in" in done.err
    assert re.search(r"1 archive of this database takes \d+\.\d kB in /", done.err)
    assert all(line.startswith("iacalls: ") for line in done.err.splitlines())


def test_the_result_and_the_archive_hold_what_was_planned(owner, cleanup):
    owner.execute(FEW)
    before = {name: rows_of(owner, name) for name in ("whatsapp_conversations", "call_records")}
    plan, done = cleanup("--dry-run").json, cleanup()
    answer = done.json
    assert set(answer) == {"command", "target", "data", "run", "archives", "vacuum", "problems"}
    rules = by_name(answer["data"])
    for name, rule in by_name(plan["data"]).items():
        assert (rules[name]["deleted"], rules[name]["skipped_locked"], rules[name]["complete"]) == (
            rule["rows"],
            0,
            True,
        )
    assert answer["run"]["state"] == "finished"
    found = archived(answer["run"]["archive"])
    assert {name[1]: len(rows) for name, rows in found.items()} == {"whatsapp_conversations": 300, "call_records": 40}
    for name, rows in found.items():
        left = rows_of(owner, name[1])
        assert len(left) + len(rows) == len(before[name[1]])
        assert set(left) < set(before[name[1]])
    folder = Path(answer["run"]["archive"])
    assert folder.name == answer["run"]["id"]
    sums = (folder / "SHA256SUMS").read_text().splitlines()
    assert {line.split("  ")[1] for line in sums} == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o600"}
    assert folder.stat().st_mode & 0o777 == 0o700
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["state"], manifest["deleted"], manifest["changed"]) == ("finished", 340, 0)
    assert [rule["planned"] for rule in manifest["rules"]] == [300, 40]
    assert {one["table"]: (one["state"], one["dead_rows"]) for one in answer["vacuum"]} == {
        "whatsapp_conversations": ("vacuumed", 0), "call_records": ("vacuumed", 0),
    }  # fmt: skip
    assert owner.execute(
        "SELECT relallvisible > 0 FROM pg_class WHERE relname = 'whatsapp_conversations'"
    ).fetchone() == (True,)


def test_nothing_to_do(owner, cleanup, archives):
    done = cleanup()
    assert done.code == 0
    assert [row["deleted"] for row in done.json["data"]] == [0, 0]
    assert (done.json["run"]["id"], done.json["run"]["archive"], done.json["vacuum"]) == (None, None, [])
    assert not archives.exists() or not list(archives.iterdir())


def test_one_rule_alone(owner, cleanup):
    owner.execute(FEW)
    assert [row["rule"] for row in cleanup("--only", "failed-calls").json["data"]] == ["failed-calls"]
    assert len(rows_of(owner, "whatsapp_conversations")) == 400


# Time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "stored"), [("timestamp", "local"), ("timestamptz", "absolute"), ("date", "date")])
@pytest.mark.parametrize(
    ("zone", "session"), [("UTC", "UTC"), ("UTC", "Pacific/Kiritimati"), ("America/Bogota", "Asia/Kolkata")]
)
def test_the_cut_off_is_absolute_whatever_the_sessions_zone(
    server, database, owner, cleanup, configure, kind, stored, zone, session
):
    """Without a zone of its own a stored time is in that of --tz, not in the session's."""
    from zoneinfo import ZoneInfo

    owner.execute(f"ALTER ROLE {OWNER} IN DATABASE {database} SET TimeZone = '{session}'")
    configure("[maintain.rules.edad]\ntable = 'edad'\nage_column = 'age'\nage = '10d'\n")
    now = datetime.now(UTC)
    limit = now - timedelta(days=10)
    moments = [limit - timedelta(minutes=2), limit + timedelta(minutes=10)]
    texts = [
        m.isoformat() if stored == "absolute" else m.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat()
        for m in moments
    ]
    if stored == "date":
        day = limit.astimezone(ZoneInfo(zone)).date()
        texts = [(day - timedelta(days=1)).isoformat(), day.isoformat()]
    owner.execute(f"CREATE TABLE edad (id int, age {kind})")
    owner.execute("INSERT INTO edad VALUES (1, %s), (2, %s), (3, '-infinity'), (4, 'infinity'), (5, NULL)", texts)
    outcome = cleanup("--only", "edad", "--tz", zone)
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"][0]["deleted"] == 2
    assert owner.execute("SELECT id FROM edad ORDER BY 1").fetchall() == [(2,), (4,), (5,)]
    assert "from -infinity to" in outcome.err
    if session != "UTC" and zone == "UTC":
        assert f"this server's time zone is {session}, and stored times without a zone are read as UTC" in outcome.err


def test_the_cut_off_is_printed_with_its_zone(owner, cleanup):
    rule = cleanup("--dry-run", "--tz", "America/Bogota")
    assert all(row["cut_off"].endswith("-05:00") for row in rule.json["data"])
    assert re.search(r"with created_at before 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d-05:00", rule.err)


def test_a_zone_that_does_not_exist(owner, cleanup):
    outcome = cleanup("--tz", "Bogotá")
    assert outcome.code == 2
    assert "there is no time zone Bogotá" in outcome.error


# Asking ----------------------------------------------------------------------------------------------


def fits(screen):
    """Whether all but the sentences fit into 80 columns."""
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen).splitlines()
    return all(len(line) <= 80 or "iacalls: " in line for line in lines)


def test_the_screens(owner, archives):
    owner.execute(FEW)
    code, screen = run_terminal("maintain", "cleanup", "--directory", str(archives), "--dry-run")
    assert code == 0
    assert fits(screen)
    assert re.search(r"whatsapp +whatsapp_conversations +300 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", screen)
    code, screen = run_terminal("maintain", "cleanup", "--directory", str(archives), answers=[("[y/N]", "n\n")])
    assert code == 0
    assert "Delete 340 rows? `iacalls maintain undo` can put them back [y/N]" in screen
    assert "not confirmed, nothing was changed" in screen
    assert len(rows_of(owner, "whatsapp_conversations")) == 400
    code, screen = run_terminal("maintain", "cleanup", "--directory", str(archives), answers=[("[y/N]", "y\n")])
    assert code == 0, screen
    assert fits(screen)
    assert "…" not in screen
    assert len(rows_of(owner, "whatsapp_conversations")) == 100


def test_without_an_archive_the_name_is_asked_for(server, database, owner, cleanup, archives):
    owner.execute(FEW)
    outcome = cleanup("--no-archive")
    assert outcome.code == 2
    assert f"give --confirm {database}" in outcome.error
    assert cleanup("--no-archive", "--yes").code == 2
    assert cleanup("--no-archive", "--confirm", "otra").code == 2
    assert len(rows_of(owner, "whatsapp_conversations")) == 400
    code, screen = run_terminal(
        "maintain", "cleanup", "--no-archive", "--directory", str(archives), answers=[("to go on:", "otra\n")]
    )
    assert code == 1
    assert f"Without an archive 340 rows are gone for good. Type {database} to go on:" in screen
    done = cleanup("--no-archive", "--confirm", database)
    assert done.code == 0
    assert (done.json["run"]["archive"], by_name(done.json["data"])["whatsapp"]["deleted"]) == (None, 300)
    assert not archives.exists()


def test_a_rule_without_an_archive_asks_for_the_name_as_well(server, database, owner, cleanup, configure):
    owner.execute(FEW)
    configure("[maintain.rules.sin]\ntable = 'call_records'\nage_column = 'created_at'\nage = '1d'\narchive = false\n")
    assert cleanup("--only", "whatsapp").code == 0
    assert cleanup().code == 2
    assert "archive" in cleanup("--dry-run").json["data"][2]
    done = cleanup("--confirm", database)
    assert done.code == 0
    assert {name[1]: len(rows) for name, rows in archived(done.json["run"]["archive"]).items()} == {"call_records": 40}
    assert rows_of(owner, "call_records") == []


# Archives --------------------------------------------------------------------------------------------


def age_archive(folder, days):
    """Make an archive look older."""
    stamp = f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}"
    return folder.rename(folder.with_name(f"{folder.name.rsplit('_', 1)[0]}_{stamp}"))


def test_archives_are_kept_as_long_as_asked(owner, cleanup, archives, configure):
    owner.execute(FEW)
    first = age_archive(Path(cleanup("--only", "whatsapp").json["run"]["archive"]), 200)
    second = age_archive(Path(cleanup("--only", "failed-calls").json["run"]["archive"]), 100)
    (archives / "otra cosa").mkdir()
    (archives / "otra_base_20200101T000000Z").mkdir()
    planned = cleanup("--dry-run", "--keep-archives", "180d")
    assert re.search(r"plan: remove 1 archives? older than 180d \(\d+\.\d kB\)", planned.err)
    assert first.exists()
    assert cleanup().code == 0
    assert first.exists()
    configure("[maintain]\nkeep_archives = '180d'\n")
    done = cleanup()
    assert done.code == 0
    assert not first.exists()
    assert second.exists()
    assert "1 archive of this database takes" in done.err
    assert cleanup("--keep-archives", "300d").code == 0
    assert cleanup("--keep-archives", "50d").code == 0
    assert {path.name for path in archives.iterdir()} == {"otra cosa", "otra_base_20200101T000000Z"}


def test_archives_of_other_databases_are_not_ours(server, database, owner, cleanup, archives, use):
    owner.execute(FEW)
    folder = age_archive(Path(cleanup().json["run"]["archive"]), 200)
    other = server.create_database(template=database) if owner.close() is None else ""
    try:
        use(other)
        done = cleanup("--keep-archives", "1d")
        assert done.code == 0
        assert folder.exists()
        assert "archives of this database" not in done.err
    finally:
        server.drop_database(other)


def test_an_unwritable_folder_is_told_before_anything_goes(owner, iacalls, tmp_path):
    owner.execute(FEW)
    (tmp_path / "datei").write_text("x")
    outcome = iacalls("maintain", "cleanup", "--directory", str(tmp_path / "datei" / "a"))
    assert outcome.code == 1
    assert "cannot make the folder" in outcome.error or "Not a directory" in outcome.error
    assert len(rows_of(owner, "whatsapp_conversations")) == 400


# Time limits -----------------------------------------------------------------------------------------

MANY = """
INSERT INTO whatsapp_conversations (phone_number, conversation_summary, created_at)
SELECT '+57' || n, repeat('x', 300), timestamp '2020-01-01' FROM generate_series(1, 20000) AS n
"""


def test_it_stops_in_time_and_the_next_run_goes_on(owner, cleanup, monkeypatch):
    owner.execute(MANY)
    monkeypatch.setattr(ranges, "FIRST_PAGES", 8)
    stopped = cleanup("--max-duration", "1s", "--pause", "400ms")
    assert stopped.code == 0
    assert "stopped at --max-duration; the next run goes on" in stopped.err
    answer = stopped.json
    rule = by_name(answer["data"])["whatsapp"]
    assert (answer["run"]["state"], rule["complete"]) == ("stopped", False)
    assert 1.0 <= answer["run"]["seconds"] - answer["run"]["vacuum_seconds"] < 2.0
    assert 0 < rule["deleted"] < 20000
    assert len(rows_of(owner, "whatsapp_conversations")) == 20000 - rule["deleted"]
    assert sum(map(len, archived(answer["run"]["archive"]).values())) == rule["deleted"]
    assert answer["vacuum"][0]["state"] == "vacuumed"
    done = cleanup()
    assert by_name(done.json["data"])["whatsapp"]["deleted"] == 20000 - rule["deleted"]


def test_rows_that_become_old_meanwhile_are_left_for_the_next(owner, cleanup, monkeypatch):
    owner.execute(FEW)
    owner.execute(
        "INSERT INTO whatsapp_conversations (phone_number, created_at) VALUES ('x', now() at time zone 'UTC' - interval '30 days' + interval '1 second')"
    )
    act = delete.RuleDeletion.run

    def late(self, plan):
        time.sleep(1.5)
        return act(self, plan)

    monkeypatch.setattr(delete.RuleDeletion, "run", late)
    assert by_name(cleanup().json["data"])["whatsapp"]["deleted"] == 300
    monkeypatch.undo()


# Ranges ----------------------------------------------------------------------------------------------


@pytest.fixture
def walked(monkeypatch):
    """The ranges that were read, as (first, last) places in pages."""
    found = []
    real = ranges.TidWalk.next

    def watch(self, width, alias):
        piece = real(self, width, alias)
        if piece is not None:
            found.append((self.position / self.slots, piece.end / self.slots))
        return piece

    monkeypatch.setattr(ranges.TidWalk, "next", watch)
    return found


def test_the_table_is_read_once_in_ranges_that_adapt(owner, cleanup, walked):
    """A LIMIT would read it from its beginning for every batch."""
    owner.execute(MANY)
    owner.execute(MANY.replace("timestamp '2020-01-01'", "now()"))
    owner.execute("VACUUM ANALYZE whatsapp_conversations")
    (pages,) = owner.execute("SELECT pg_relation_size('whatsapp_conversations') / 8192").fetchone()
    scans = "SELECT pg_stat_force_next_flush(), pg_stat_get_numscans('whatsapp_conversations'::regclass)"
    flush = owner.info.server_version >= 150_000
    before = owner.execute(scans).fetchone()[1] if flush else 0
    done = cleanup("--only", "whatsapp", "--pause", "0s")
    assert done.json["data"][0]["deleted"] == 20000
    # Every page once, one range behind the other, but for those that took too long and were tried with less.
    assert walked[0][0] == 0
    assert walked[-1][1] == pages
    assert all(later[0] in (earlier[0], earlier[1]) for earlier, later in pairwise(walked))
    done_ranges = [one for one, later in zip(walked, [*walked[1:], (pages, 0)], strict=True) if later[0] == one[1]]
    assert sum(end - start for start, end in done_ranges) == pages
    assert len({end - start for start, end in done_ranges}) > 1
    if flush:
        # The count of the plan, with its workers, and ANALYZE; the ranges are no scans of the table.
        assert owner.execute(scans).fetchone()[1] - before <= 4


def test_a_range_is_read_by_its_places(owner):
    owner.execute(MANY)
    plan = owner.execute(
        "EXPLAIN DELETE FROM ONLY public.whatsapp_conversations AS w WHERE w.ctid >= '(3,0)'::tid AND w.ctid < '(9,0)'::tid"
        " AND w.created_at < '2025-01-01'::timestamp"
    ).fetchall()
    assert any("Tid Range Scan" in line for (line,) in plan)


def test_pace_follows_the_time_it_took():
    pace = ranges.BatchSize(1000.0, least=100.0)
    pace.took(0.05)
    assert pace.width == 4000
    pace.took(0.4)
    assert pace.width == 2000
    pace.took(10.0)
    assert pace.width == 500
    pace.took(10.0, share=0.5)
    assert pace.width == 500
    for _ in range(9):
        pace.took(10.0)
    assert pace.width == 100
    assert pace.was_too_wide()
    assert pace.width == 25


@pytest.fixture
def heap2(server, database):
    """A second access method: for all that iacalls knows, its rows have no stable places."""
    with server.connect(database, SUPERUSER) as superuser:
        superuser.execute("CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler")


KEYS = {
    "one": "id int PRIMARY KEY",
    "two": "id int, other text, PRIMARY KEY (other, id)",
    "included": "id int, x int, PRIMARY KEY (id) INCLUDE (x)",
    "numeric": "id numeric PRIMARY KEY",
}


@pytest.mark.parametrize("key", KEYS)
def test_rows_without_stable_places_are_walked_by_their_key(
    owner, cleanup, configure, heap2, monkeypatch, key, iacalls, archives
):
    monkeypatch.setattr(ranges, "FIRST_KEYS", 7)
    configure("[maintain.rules.e]\ntable = 'e'\nage_column = 'age'\nage = '10d'\n")
    owner.execute(f"CREATE TABLE e ({KEYS[key]}, age timestamp) USING heap2")
    columns = "id, other, age" if key == "two" else "id, age"
    values = "n % 20, 'ñ\\''' || n, " if key == "two" else "n, "
    owner.execute(
        f"INSERT INTO e ({columns}) SELECT {values} CASE WHEN n % 3 > 0 THEN timestamp '2020-01-01' END FROM generate_series(1, 300) AS n"
    )
    before = rows_of(owner, "e")
    outcome = cleanup("--only", "e", "--pause", "0s")
    assert outcome.code == 0, outcome.err
    row = outcome.json["data"][0]
    assert (row["deleted"], row["complete"]) == (200, True)
    assert row["transactions"] > 3
    assert len(rows_of(owner, "e")) == 100
    assert iacalls("maintain", "undo", "newest", "--directory", str(archives)).code == 0
    assert rows_of(owner, "e") == before


def test_rows_in_use_are_passed_by_there_too(server, database, owner, cleanup, configure, heap2):
    configure("[maintain.rules.e]\ntable = 'e'\nage_column = 'age'\nage = '10d'\n")
    owner.execute("CREATE TABLE e (id int, other text, age date, PRIMARY KEY (id, other)) USING heap2")
    owner.execute("INSERT INTO e SELECT n, 'x', '2020-01-01' FROM generate_series(1, 50) AS n")
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SELECT FROM e WHERE id IN (3, 40) FOR UPDATE")
        row = cleanup("--only", "e").json["data"][0]
    assert (row["deleted"], row["skipped_locked"]) == (48, 2)


def test_without_places_and_key_it_is_refused_in_words(owner, cleanup, configure, heap2):
    configure("[maintain.rules.e]\ntable = 'e'\nage_column = 'age'\nage = '10d'\n")
    owner.execute("CREATE TABLE e (id int, age timestamp) USING heap2")
    outcome = cleanup("--dry-run")
    assert outcome.code == 1
    assert "e has no primary key, and its rows have no stable places. Hint: give it a primary key" in outcome.error


def test_cascades_work_there_too(owner, cleanup, configure, heap2):
    configure("[maintain.rules.e]\ntable = 'e'\nage_column = 'age'\nage = '10d'\n")
    owner.execute(
        "CREATE TABLE e (id int PRIMARY KEY, age timestamp) USING heap2; INSERT INTO e VALUES (1, '2020-01-01'), (2, now());"
        "CREATE TABLE f (e int REFERENCES e ON DELETE CASCADE) USING heap2; INSERT INTO f VALUES (1), (2), (1)"
    )
    row = cleanup("--only", "e").json["data"][0]
    assert (row["deleted"], row["cascaded"]) == (1, 2)


# Kinds of tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["p", "p1"])
def test_partitions(owner, cleanup, configure, rule, iacalls, archives):
    configure(f"[maintain.rules.p]\ntable = '{rule}'\nage_column = 'day'\nage = '10d'\n")
    owner.execute(
        "CREATE TABLE p (day date, v text) PARTITION BY RANGE (day);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');"
        "CREATE TABLE p2 PARTITION OF p DEFAULT PARTITION BY LIST (v);"
        "CREATE TABLE p21 PARTITION OF p2 FOR VALUES IN ('a'); CREATE TABLE p22 PARTITION OF p2 DEFAULT;"
        "INSERT INTO p SELECT date '2020-01-01' + n, chr(97 + n % 3) FROM generate_series(0, 59) AS n;"
        "INSERT INTO p SELECT now(), 'a' FROM generate_series(1, 5)"
    )
    before = {name: rows_of(owner, name) for name in ("p1", "p21", "p22")}
    wanted = 60 if rule == "p" else 31
    assert cleanup("--only", "p", "--dry-run").json["data"][0]["rows"] == wanted
    done = cleanup("--only", "p")
    assert done.json["data"][0]["deleted"] == wanted
    assert {one["table"] for one in done.json["vacuum"]} == ({"p1", "p21", "p22"} if rule == "p" else {"p1"})
    assert owner.execute("SELECT count(*) FROM p").fetchone() == (65 - wanted,)
    assert iacalls("maintain", "undo", "newest", "--directory", str(archives)).code == 0
    assert {name: rows_of(owner, name) for name in before} == before


def test_the_older_lineages(server, empty_database, use, cleanup):
    """Tables as the deleted scripts made them: other types, no triggers, foreign keys without ON DELETE."""
    use(empty_database)
    with server.connect(empty_database, OWNER) as owner:
        owner.execute(
            "CREATE TABLE batch_calls (id serial PRIMARY KEY, batch_id varchar(100), status varchar(20));"
            "CREATE TABLE call_records (id serial PRIMARY KEY, batch_call_id int REFERENCES batch_calls, phone_number varchar(20),"
            " status varchar(20), created_at timestamptz DEFAULT now());"
            "CREATE TABLE whatsapp_conversations (id serial PRIMARY KEY, phone_number varchar(20), conversation_summary text NOT NULL,"
            " created_at timestamptz DEFAULT now());"
            "CREATE TABLE seguimiento (call int REFERENCES call_records);"
            "INSERT INTO batch_calls (status) VALUES ('in_progress'), ('completed');"
            # The batch without an end runs: one of its calls is of today.
            "INSERT INTO call_records (batch_call_id, status, created_at) VALUES (1, 'failed', '2020-01-01'),"
            " (2, 'failed', '2020-01-01'), (2, 'failed', '2020-01-01'), (2, 'failed', now()), (NULL, 'failed', '2020-01-01'), (2, 'ended', '2020-01-01'),"
            " (1, 'ended', now());"
            "INSERT INTO seguimiento VALUES (2), (6);"
            "INSERT INTO whatsapp_conversations (conversation_summary, created_at) VALUES ('', '2020-01-01 00:00+05'), ('', now())"
        )
        plan = cleanup("--dry-run").json
        assert {row["rule"]: (row["rows"], row["kept"]) for row in plan["data"]} == {
            "whatsapp": (1, 0),
            "failed-calls": (2, 2),
        }
        assert {(one["reason"], one["rows"]) for one in plan["kept"]} == {
            ("calls of running batches", 1),
            ("still referred to by seguimiento", 1),
        }
        assert by_name(cleanup().json["data"])["failed-calls"]["deleted"] == 2
        assert owner.execute("SELECT id FROM call_records ORDER BY 1").fetchall() == [(1,), (2,), (4,), (6,), (7,)]


# Roles and servers -----------------------------------------------------------------------------------


def test_a_role_that_may_only_read_is_refused(database, owner, use, cleanup):
    owner.execute(FEW)
    use(database, READER)
    for options in ((), ("--dry-run",)):
        outcome = cleanup(*options)
        assert outcome.code == 1
        assert f"rule whatsapp: the role {READER} lacks DELETE, UPDATE on whatsapp_conversations" in outcome.error
        assert "Hint: use the role that owns the tables" in outcome.error


def test_row_security_that_applies_is_refused(server, database, owner, use, cleanup):
    owner.execute(FEW)
    owner.execute("ALTER TABLE whatsapp_conversations ENABLE ROW LEVEL SECURITY")
    assert cleanup("--dry-run").code == 0  # not to the owner
    owner.execute("ALTER TABLE whatsapp_conversations FORCE ROW LEVEL SECURITY")
    assert (
        "rule whatsapp: row security hides rows of whatsapp_conversations from this role" in cleanup("--dry-run").error
    )
    use(database, SUPERUSER)
    assert cleanup("--dry-run").code == 0  # nor to a superuser


def test_row_security_of_a_partition_is_refused(owner, cleanup, configure):
    configure("[maintain.rules.p]\ntable = 'p'\nage_column = 'day'\nage = '10d'\n")
    owner.execute(
        "CREATE TABLE p (day date) PARTITION BY RANGE (day); CREATE TABLE p1 PARTITION OF p DEFAULT;"
        "ALTER TABLE p1 ENABLE ROW LEVEL SECURITY; ALTER TABLE p1 FORCE ROW LEVEL SECURITY"
    )
    assert "row security hides rows of p1 from this role" in cleanup("--dry-run").error


@pytest.mark.skipif("IACALLS_TEST_DSN" in os.environ, reason="needs a server of its own")
def test_a_replica_is_refused(cleanup, monkeypatch):
    server, port = make_private_server(bundled(), hot_standby="on")
    try:
        server.start()
        keywords = {**server.conninfo("postgres"), "host": "127.0.0.1", "port": port}
        server.stop()
        (server.places.data / "standby.signal").touch()
        server.start()
        monkeypatch.setenv("IACALLS_DSN", psycopg.conninfo.make_conninfo(**keywords))
        for options in ((), ("--dry-run",)):
            outcome = cleanup(*options)
            assert outcome.code == 1
            assert "is a replica (in recovery) and takes no writes" in outcome.error
    finally:
        remove_private_server(server)


def test_no_connection(cleanup, monkeypatch):
    monkeypatch.setenv("IACALLS_DSN", "host=127.0.0.1 port=1 dbname=x")
    outcome = cleanup()
    assert outcome.code == 3
    assert "Hint: " in outcome.error


# Others at work --------------------------------------------------------------------------------------


def test_rows_in_use_are_passed_by_and_told(server, database, owner, cleanup):
    owner.execute(FEW)
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("SELECT FROM whatsapp_conversations WHERE id IN (5, 77, 300, 350) FOR UPDATE")
        done = cleanup()
    assert done.code == 0
    rule = by_name(done.json["data"])["whatsapp"]
    assert (rule["deleted"], rule["skipped_locked"], rule["complete"]) == (297, 3, True)
    assert "3 rows were in use and stay; the next run takes them" in done.err
    assert by_name(cleanup().json["data"])["whatsapp"]["deleted"] == 3


@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
def test_a_locked_table_is_told_with_its_holder(server, database, owner, cleanup, monkeypatch, mode):
    owner.execute(FEW)
    plan = delete.RuleDeletion.run
    with server.connect(database, OWNER) as other:
        other.execute("SET application_name = 'una migración'")

        def locked(self, rule):
            other.execute("BEGIN")
            other.execute(f"LOCK TABLE whatsapp_conversations IN {mode} MODE")
            return plan(self, rule)

        monkeypatch.setattr(delete.RuleDeletion, "run", locked)
        monkeypatch.setattr(delete, "PATIENCE_SECONDS", 0.5)
        outcome = cleanup("--only", "whatsapp")
        assert outcome.code == 1
        assert f"whatsapp_conversations is locked by session {other.info.backend_pid} (una migraci" in outcome.error
        assert "what was deleted so far stays deleted; try again when that is over" in outcome.error
        other.execute("ROLLBACK")
    assert len(rows_of(owner, "whatsapp_conversations")) == 400


def test_one_who_waits_for_the_table_is_told_as_well(server, database, owner, cleanup, monkeypatch):
    """An ALTER TABLE that waits behind a reader keeps writers out, and holds nothing."""
    owner.execute(FEW)
    run = delete.RuleDeletion.run
    with server.connect(database, OWNER) as reader, server.connect(database, OWNER) as waiting:

        def locked(self, rule):
            reader.execute("BEGIN; SELECT count(*) FROM whatsapp_conversations")
            thread.start()
            time.sleep(0.3)
            return run(self, rule)

        def alter():
            waiting.execute("ALTER TABLE whatsapp_conversations ADD COLUMN nueva int")

        thread = threading.Thread(target=alter)

        monkeypatch.setattr(delete.RuleDeletion, "run", locked)
        monkeypatch.setattr(delete, "PATIENCE_SECONDS", 0.5)
        outcome = cleanup("--only", "whatsapp")
        assert outcome.code == 1
        assert f"is locked by session {waiting.info.backend_pid}" in outcome.error
        reader.execute("ROLLBACK")
        thread.join()


def test_two_at_once(server, database, owner, cleanup):
    owner.execute(FEW)
    with server.connect(database, OWNER) as other:
        other.execute("SET application_name = 'iacalls/maintain cleanup'")
        other.execute("SELECT pg_advisory_lock(hashtextextended('iacalls maintain cleanup', 0))")
        assert cleanup("--dry-run").code == 0
        outcome = cleanup()
        assert outcome.code == 1
        assert (
            f"another cleanup or undo is at work on this database: iacalls/maintain cleanup, session {other.info.backend_pid} of {OWNER}"
            in outcome.error
        )
    assert len(rows_of(owner, "whatsapp_conversations")) == 400


def test_a_cleanup_with_quiet_says_nothing(owner, archives):
    owner.execute(FEW)
    done = run_process("maintain", "cleanup", "-q", "--directory", str(archives))
    assert (done.code, done.err) == (0, "")
    assert "whatsapp" in done.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(100, 40), (50, 50)], "60.0 kB of it went back to the disk (90.0 kB now)"),
        ([(100, 40), (50, 70)],
         "60.0 kB of it went back to the disk, 20.0 kB more is used elsewhere: 40.0 kB less in all (110.0 kB now)"),
        ([(100, 90), (50, 70)],
         "10.0 kB of it went back to the disk, 20.0 kB more is used elsewhere: 10.0 kB more in all (160.0 kB now)"),
        ([(50, 70), (10, 15)], "none of it went back to the disk, 25.0 kB more is used (85.0 kB now)"),
        ([(50, 50)], "none of it went back to the disk (50.0 kB now)"),
    ],
)  # fmt: skip
def test_the_line_about_space_adds_up_what_shrank_and_what_grew(changes, words):
    vacuumed = [
        VacuumResult("public", f"t{number}", "vacuumed", *(Measure(size << 10, 0, 0, 0, 9, 0) for size in pair))
        for number, pair in enumerate(changes)
    ]
    plan, result = SimpleNamespace(rules=()), SimpleNamespace(vacuumed=vacuumed)
    assert list(space_lines(plan, result)) == [f"the space of the deleted rows is free for new ones; {words}"]
