"""`iacalls report`: commands made from files, typed values, the user's own queries."""

import csv
import io
import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from iacalls_cli.errors import UsageError
from iacalls_cli.operations.report import list_reports
from iacalls_cli.queries import load_topic
from iacalls_cli.values import Clock, read_moment, read_value
from tests.support.command_line import run_terminal
from tests.support.servers import OWNER, READER

BOGOTA = Clock(datetime(2025, 10, 30, 2, 30, tzinfo=UTC), ZoneInfo("America/Bogota"))  # 21:30 of the day before there
REPORTS = [query.name.removeprefix("report/") for query in load_topic("report")]


@pytest.fixture
def folder(tmp_path):
    """The user's own query folder, named in the config file."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "iacalls.toml").write_text('[queries]\nfolder = "mine"\n')
    return mine


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "tsv", "markdown", "html"])
@pytest.mark.parametrize("name", REPORTS)
def test_every_report_in_every_format(filled_database, use, iacalls, name, output):
    use(filled_database, READER)
    arguments = ["1"] if name == "client-history" else []
    outcome = iacalls("report", name, *arguments, "-o", output)
    assert outcome.code == 0
    assert outcome.out
    if output == "json":
        assert isinstance(outcome.json["data"], list)
        assert "parameters" in outcome.json
    if output == "csv":
        header = next(csv.reader(io.StringIO(outcome.out)))
        assert len(header) > 1


def test_alone_it_lists_them(iacalls):
    outcome = iacalls("report")
    assert outcome.code == 0
    for name in REPORTS:
        assert name in outcome.out
    rows = iacalls("report", "list", "-o", "json").json["data"]
    assert {row["name"] for row in rows} == set(REPORTS)
    assert all(row["description"] for row in rows)


def test_show_prints_the_sql(iacalls):
    outcome = iacalls("report", "show", "stats")
    assert outcome.out.startswith("-- ")
    assert "llamadas_completadas" in outcome.out


def test_check_prepares_all_and_finds_what_cannot_run(server, filled_database, use, iacalls, folder):
    use(filled_database)
    assert iacalls("report", "check").code == 0
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("ALTER TABLE whatsapp_conversations RENAME client_name TO name")
    (folder / "broken.sql").write_text("-- Broken.\nSELECT nothing FROM users")
    outcome = iacalls("report", "check", "-o", "json")
    assert outcome.code == 4
    problems = {row["name"]: row["problem"] for row in outcome.json["data"] if row["state"] == "problem"}
    assert set(problems) == {"whatsapp", "broken"}
    assert "client_name" in problems["whatsapp"]
    assert "2 of 10" in outcome.error


def test_a_file_in_the_users_folder_is_a_command(filled_database, use, iacalls, folder):
    (folder / "by-status.sql").write_text(
        "-- Calls by status, más o menos.\n-- param: least integer = 0 -- only states with this many calls\n"
        "SELECT status AS estado, count(*) AS llamadas FROM call_records GROUP BY status HAVING count(*) >= :least ORDER BY 1"
    )
    use(filled_database)
    outcome = iacalls("report", "by-status", "--least", "1", "-o", "json")
    assert outcome.code == 0
    assert outcome.json["parameters"] == {"least": 1}
    assert {"estado", "llamadas"} == set(outcome.json["data"][0])
    assert "by-status" in iacalls("report").out
    assert "by-status" in iacalls("report", "--help").out
    assert "only states with this many calls" in " ".join(iacalls("report", "by-status", "--help").out.split())
    assert iacalls("report", "show", "by-status").code == 0


@pytest.mark.parametrize("name", ["stats", "run", "list"])
def test_a_users_file_never_takes_a_name_of_iacalls(iacalls, folder, name):
    (folder / f"{name}.sql").write_text("-- Mine.\nSELECT 1")
    listed = [row for row in iacalls("report", "list", "-o", "json").json["data"] if row["name"] == name]
    assert listed[-1]["problem"].startswith("iacalls has a report or command of this name")
    assert listed[-1]["origin"] == str(folder / f"{name}.sql")
    assert "Mine" not in iacalls("report", "show", "stats").out


def test_what_finds_nothing_says_so(filled_database, use, iacalls):
    use(filled_database)
    outcome = iacalls("report", "durations", "--since", "2100-01-01", "-o", "json")
    assert outcome.code == 0
    assert outcome.json["data"] == []
    assert "no row was found for since 2100-01-01" in outcome.err
    assert "no row was found for table cals" in iacalls("monitor", "indexes", "--table", "cals").err
    assert "no row" not in iacalls("report", "groups").err


def test_check_tells_of_files_that_are_no_command(filled_database, use, iacalls, folder):
    (folder / "stats.sql").write_text("-- Mine.\nSELECT 1")
    use(filled_database)
    outcome = iacalls("report", "check", "-o", "json")
    assert outcome.code == 4
    assert [row["name"] for row in outcome.json["data"] if row["state"] == "problem"] == ["stats"]


def test_a_missing_folder_is_told(iacalls, folder):
    folder.rmdir()
    outcome = iacalls("report", "list")
    assert outcome.code == 2
    assert f"query folder {folder} is not a folder" in outcome.error
    assert "stats" in iacalls("report", "--help").out
    assert iacalls("report", "show", "stats").code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELECT 1", "has no header"),
        ("-- X.\n-- param: n integer = ten\nSELECT :n", "the default of n is not an integer"),
        ("-- X.\n-- param: tz text\nSELECT :tz", "every command has an option --tz"),
        ("-- X.\n-- parm: n integer\nSELECT 1", "unknown header key 'parm'"),
        ("-- X.\nSELECT 1 AS a\0 FROM broken", "NUL"),
    ],
)
def test_a_file_that_is_no_good_says_why_however_it_is_called(iacalls, folder, text, words):
    (folder / "bad.sql").write_text(text)
    for arguments in ((), ("--since", "7d", "extra"), ("-o", "json")):
        outcome = iacalls("report", "bad", *arguments)
        assert outcome.code == 2
        assert words in outcome.error
    for arguments in (("report",), ("report", "--help"), ("report", "bad", "--help"), ("report", "list")):
        assert iacalls(*arguments).code == 0


def test_parameters_may_be_called_what_python_reserves(filled_database, use, iacalls, folder):
    (folder / "span.sql").write_text(
        "-- note: [bold]Between[/bold] two [numbers].\n-- param: from integer = 2 -- [/red] first\n-- param: class integer\n"
        "-- param: run integer = 0\nSELECT :from + :class + :run AS sum"
    )
    use(filled_database)
    assert iacalls("report", "span", "5", "--from", "3", "-o", "json").json["data"] == [{"sum": 8}]
    assert "[bold]Between[/bold]" in iacalls("report", "span", "--help").out
    assert "[/red] first" in iacalls("report", "span", "--help").out
    assert "note: [bold]" in iacalls("report", "--help").out


def test_the_list_itself_takes_a_format(iacalls):
    assert iacalls("report", "-o", "json").json["data"] == iacalls("report", "list", "-o", "json").json["data"]


def test_a_broken_file_of_the_user_breaks_only_itself(filled_database, use, iacalls, folder):
    (folder / "bad.sql").write_text("SELECT 1")
    use(filled_database)
    assert iacalls("report", "groups").code == 0
    assert iacalls("report", "--help").code == 0
    outcome = iacalls("report", "list", "-o", "json")
    assert outcome.code == 0
    assert "no header" in next(row["problem"] for row in outcome.json["data"] if row["name"] == "bad")
    outcome = iacalls("report", "bad")
    assert outcome.code == 2
    assert "has no header" in outcome.error


def test_a_broken_config_does_not_break_the_help(iacalls, tmp_path):
    (tmp_path / "iacalls.toml").write_text("nonsense = 1")
    assert iacalls("--help").code == 0
    outcome = iacalls("report", "--help")
    assert outcome.code == 0
    assert "unknown key 'nonsense'" in outcome.err
    assert iacalls("report", "groups").code == 2


def test_run_any_file_with_a_header(filled_database, use, iacalls, tmp_path):
    file = tmp_path / "año.sql"
    file.write_text(
        "-- Echo.\n-- param: a integer\n-- param: b text = x\n-- param: c date = null\n-- param: d boolean = false\n"
        "-- param: e numeric = 1.50\n-- param: f interval = 1 day\nSELECT :a AS a, :b AS b, :c AS c, :d AS d, :e AS e, :f AS f"
    )
    use(filled_database)
    outcome = iacalls(
        "report", "run", str(file), "--param", "a=7", "--param", "b=ñ=ñ", "--param", "c=2025-10-29", "-o", "json"
    )
    assert outcome.json["data"] == [{"a": 7, "b": "ñ=ñ", "c": "2025-10-29", "d": False, "e": 1.5, "f": "1 day"}]
    for arguments, words in [
        ([], "the parameter a is missing"),
        (["--param", "a"], "has no ="),
        (["--param", "z=1"], "has no parameter z"),
        (["--param", "a=x"], "a is not an integer: x"),
        (["--param", "a=1", "--param", "d=perhaps"], "d is not a boolean: perhaps"),
        (["--param", "a=1", "--param", "c=29/10/2025"], "c is not a date"),
        (["--param", "a=1", "--param", "e=1,5"], "e is not a numeric"),
    ]:
        outcome = iacalls("report", "run", str(file), *arguments)
        assert outcome.code == 2
        assert words in outcome.error
    outcome = iacalls("report", "run", str(file), "--param", "a=1", "--param", "f=soon")
    assert outcome.code == 1
    assert "interval" in outcome.error


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("-- Two.\nSELECT 1; SELECT 2", 2, "2 statements; behind the first one: SELECT in line 2"),
        ("SELECT 1;\nVACUUM;", 2, "2 statements; behind the first one: VACUUM in line 2"),
        ("-- Other.\n-- param: n integer = 1\nSELECT :n, $1", 2, "line 3: $1 is a placeholder of another tool"),
        ("SELECT $1", 2, "line 1: $1 is a placeholder of another tool"),
        ("-- None.\n", 2, "0 statements"),
        ("-- Writes.\n-- effect: write\nDELETE FROM users", 2, "reports only read"),
        ("-- Lies.\nDELETE FROM users", 2, "returns no rows"),
        ("-- Lies.\nDELETE FROM users RETURNING id", 1, "read-only transaction"),
        ("-- Slow.\nVACUUM FULL users", 2, "returns no rows"),
        ("-- Does.\nDO $$BEGIN END$$", 2, "returns no rows"),
        ("-- Lies.\nSELECT set_config('transaction_read_only', 'off', false); DELETE FROM users", 2, "2 statements"),
        ("-- Wrong.\nSELECT nothing\nFROM users", 1, 'column "nothing" does not exist (line 2 of the SQL)'),
        ("-- Wrong.\nSELECT * FROM nothing", 1, "iacalls db verify"),
        ("-- Wrong.\nSELEC 1", 1, "syntax error"),
        ("-- Wrong.\nCREATE TABLE x (a int)", 2, "returns no rows"),
        ("-- Out.\nCOPY users TO STDOUT", 2, "returns no rows"),
        ("-- Out.\nCOPY users FROM STDIN", 2, "returns no rows"),
    ],
)
def test_a_file_that_cannot_run_is_told_in_one_line(filled_database, use, iacalls, tmp_path, server, text, code, words):
    file = tmp_path / "x.sql"
    file.write_text(text)
    use(filled_database)
    outcome = iacalls("report", "run", str(file))
    assert outcome.code == code
    assert words in outcome.error
    with server.connect(filled_database, OWNER) as connection:
        assert connection.execute("SELECT count(*) > 0 FROM users").fetchone() == (True,)


def test_a_result_without_rows_still_has_its_columns(connection, database, use, iacalls):
    use(database)
    assert iacalls("report", "whatsapp", "-o", "csv").out == "phone_number,client_name,status,sent_at,received_at\r\n"
    assert iacalls("report", "whatsapp", "-o", "json").json["data"] == []
    assert "phone_number" in iacalls("report", "whatsapp").out


def test_repeated_column_names_are_told_apart(database, use, iacalls, tmp_path):
    file = tmp_path / "x.sql"
    file.write_text("-- Twice.\nSELECT 1 AS a, 2 AS a, 3 AS a")
    use(database)
    assert iacalls("report", "run", str(file), "-o", "json").json["data"] == [{"a": 1, "a_2": 2, "a_3": 3}]


def test_long_text_is_shortened_at_a_terminal_only(server, connection, database, use, iacalls):
    text = "Larga historia. " * 40
    client = connection.execute("INSERT INTO clients (name) VALUES ('Ñ') RETURNING id").fetchone()[0]
    connection.execute(
        "INSERT INTO call_records (client_id, phone_number, status, transcript_summary) VALUES (%s, '+57', 'completed', %s)",
        [client, text],
    )
    dsn = use(database)
    assert text in iacalls("report", "calls", "-o", "csv").out
    assert text in iacalls("report", "calls", "-o", "json").out
    assert text.strip() in iacalls("report", "calls").out
    _, screen = run_terminal("report", "calls", env={"IACALLS_DSN": dsn})
    assert text not in screen
    assert "…" in screen


def test_today_depends_on_the_zone(connection, database, use, iacalls):
    """02:30 UTC is still the day before in Bogotá; stored timestamps are UTC and shown as stored."""
    client = connection.execute("INSERT INTO clients (name) VALUES ('x') RETURNING id").fetchone()[0]
    for moment in ("2025-10-29 04:59", "2025-10-29 05:01"):
        connection.execute(
            "INSERT INTO call_records (client_id, phone_number, status, call_ended_at) VALUES (%s, '1', 'completed', %s)",
            [client, moment],
        )
    use(database)
    since = ["report", "calls", "--since", "2025-10-29", "-o", "json"]
    assert len(iacalls(*since).json["data"]) == 2
    [row] = iacalls(*since, "--tz", "America/Bogota").json["data"]
    assert row["call_ended_at"] == "2025-10-29 05:01:00"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("today", "2025-10-29 05:00"), ("yesterday", "2025-10-28 05:00"), ("2025-10-29", "2025-10-29 05:00"),
        ("2025-10-29 14:00", "2025-10-29 19:00"), ("2025-10-29T14:00:00Z", "2025-10-29 14:00"),
        ("2025-10-29T14:00+02:00", "2025-10-29 12:00"), ("24h", "2025-10-29 02:30"), ("7d", "2025-10-23 02:30"),
        ("2w", "2025-10-16 02:30"), ("30 min", "2025-10-30 02:00"), ("now", "2025-10-30 02:30"),
    ],
)  # fmt: skip
def test_moments(text, utc):
    assert read_moment(text, BOGOTA).astimezone(UTC) == datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert read_value("since", "timestamp", (), text, BOGOTA) == datetime.fromisoformat(utc)


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "2025-13-01", "99999999999d", "29/10/2025"])
def test_what_is_no_moment(text):
    with pytest.raises(UsageError, match="since is not a timestamp"):
        read_value("since", "timestamp", (), text, BOGOTA)


def test_values_cannot_change_the_sql(filled_database, use, iacalls, server):
    """Values travel apart from the statement."""
    use(filled_database)
    nasty = "x'; DROP TABLE users; --"
    outcome = iacalls("report", "durations", "--group", nasty, "-o", "json")
    assert outcome.code == 1
    assert f"there is no group {nasty}" in outcome.error
    with server.connect(filled_database, OWNER) as connection:
        assert connection.execute("SELECT to_regclass('users') IS NOT NULL").fetchone() == (True,)


def test_listing_needs_no_database():
    assert [report.name for report in list_reports(None)] == REPORTS


def test_json_of_a_jsonb_column(database, use, iacalls, tmp_path, connection):
    connection.execute("""INSERT INTO clients (name, metadata) VALUES ('x', '{"á": [1.10, null, "\\n"], "b": {}}')""")
    file = tmp_path / "x.sql"
    file.write_text("-- JSON.\nSELECT metadata, ARRAY['a', NULL, '{}'] AS list FROM clients")
    use(database)
    outcome = iacalls("report", "run", str(file), "-o", "jsonl")
    assert json.loads(outcome.out) == {"metadata": {"á": [1.1, None, "\n"], "b": {}}, "list": ["a", None, "{}"]}
    assert "1.10" in outcome.out


@pytest.mark.parametrize("name", ["._busy.sql", ".#busy.sql", ".busy.sql"])
def test_files_that_nobody_wrote_are_left_out(filled_database, use, iacalls, folder, name):
    (folder / "busy.sql").write_text("-- Busy.\nSELECT 1 AS a")
    if name.startswith(".#"):
        (folder / name).symlink_to("ana@host.1234")
    else:
        (folder / name).write_bytes(b"\0\5\26\7Mac OS X \xff")
    use(filled_database)
    outcome = iacalls("report", "check", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert "busy" in {row["name"] for row in outcome.json["data"]}
    assert {row["name"] for row in iacalls("report", "list", "-o", "json").json["data"]} == {*REPORTS, "busy"}


@pytest.mark.parametrize(
    "text", ["SELECT 1 AS a", "-- Plain.\nSELECT 1 AS a;\n-- the end", "/* plain */ SELECT 1 AS a"]
)
@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_a_file_with_a_plain_comment_or_none_runs(database, use, iacalls, tmp_path, text, mark):
    (tmp_path / "busy.sql").write_text(mark + text, "utf-8")
    use(database)
    outcome = iacalls("report", "run", "busy.sql", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"] == [{"a": 1}]


def test_a_default_in_quotes_finds_its_rows(filled_database, use, iacalls, folder):
    (folder / "failed.sql").write_text(
        "-- Failed.\n-- param: status text = 'failed'\n"
        "SELECT count(*) AS calls FROM (VALUES ('failed')) AS v (status) WHERE status = :status"
    )
    use(filled_database)
    assert iacalls("report", "failed", "-o", "json").json["data"] == [{"calls": 1}]
    assert iacalls("report", "run", str(folder / "failed.sql"), "-o", "json").json["data"] == [{"calls": 1}]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("integer", str(-(2**31)), -(2**31)), ("bigint", str(-(2**63)), -(2**63)), ("integer", str(2**31 - 1), 2**31 - 1),
     ("bigint", str(2**63 - 1), 2**63 - 1)],
)  # fmt: skip
def test_the_lowest_and_the_highest_numbers_are_taken(database, use, iacalls, tmp_path, kind, text, value):
    (tmp_path / "x.sql").write_text(f"-- X.\n-- param: n {kind} = {text}\nSELECT :n AS n")
    use(database)
    assert iacalls("report", "run", "x.sql", "--param", f"n={text}", "-o", "json").json["data"] == [{"n": value}]
    beyond = value + (1 if value > 0 else -1)
    outcome = iacalls("report", "run", "x.sql", "--param", f"n={beyond}")
    assert outcome.code == 2
    assert f"n is too {'large' if value > 0 else 'small'} for {kind}" in outcome.error


@pytest.mark.parametrize(
    ("zone", "now", "text", "utc"),
    [
        ("America/Havana", "2025-11-02 05:30", "today", "2025-11-02 04:00"),
        ("America/Havana", "2025-11-02 04:30", "today", "2025-11-02 04:00"),
        ("America/Havana", "2025-11-03 05:30", "yesterday", "2025-11-02 04:00"),
        ("America/Havana", "2025-11-02 05:30", "yesterday", "2025-11-01 04:00"),
        ("Atlantic/Azores", "2025-10-26 01:30", "today", "2025-10-26 00:00"),
        ("America/Bogota", "2025-11-02 05:30", "today", "2025-11-02 05:00"),
    ],
)
def test_today_begins_with_the_first_midnight(zone, now, text, utc):
    clock = Clock(datetime.fromisoformat(now).replace(tzinfo=UTC), ZoneInfo(zone))
    assert read_moment(text, clock).astimezone(UTC) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


VIEWS = "DROP VIEW group_statistics, client_call_history, batch_call_statistics"


@pytest.mark.parametrize("report", [("client-history", "1"), ("batch-statistics",), ("group-statistics",)])
def test_reports_work_without_the_views(server, filled_database, use, iacalls, report):
    use(filled_database)
    before = iacalls("report", *report, "-o", "csv").out
    with server.connect(filled_database, OWNER) as connection:
        connection.execute(VIEWS)
    outcome = iacalls("report", *report, "-o", "csv")
    assert outcome.code == 0, outcome.err
    assert outcome.out == before
    assert before.count("\r\n") > 1


@pytest.fixture
def some_calls(connection, database, use):
    """A client with a call in every state; those that go on have no end."""
    client = connection.execute("INSERT INTO clients (name) VALUES ('x') RETURNING id").fetchone()[0]
    states = ["completed", "finished", "ended", "failed", "busy", "no_answer", "cancelled", "pending", "in_progress"]
    for hour, status in enumerate(states):
        ended = None if status in ("pending", "in_progress") else f"2025-10-29 {hour:02}:00"
        connection.execute(
            "INSERT INTO call_records (client_id, phone_number, status, call_started_at, call_ended_at, created_at)"
            " VALUES (%s, '1', %s, %s, %s, '2025-10-01')",
            [client, status, None if status == "pending" else f"2025-10-29 {hour:02}:00", ended],
        )
    use(database)
    return states


def test_calls_of_all_states_and_of_the_three_good_ends(some_calls, iacalls):
    def states(*options):
        return [row["status"] for row in iacalls("report", "calls", *options, "-o", "json").json["data"]]

    assert states() == states("--status", "completed") == ["completed"]
    assert states("--status", "ended_well") == ["ended", "finished", "completed"]
    latest = ["in_progress", "cancelled", "no_answer", "busy", "failed", "ended", "finished", "completed", "pending"]
    assert states("--status", "all") == latest
    assert states("--status", "all", "--limit", "2") == latest[:2]
    since = ("--since", "2025-10-29 03:00")
    assert states("--status", "all", *since) == ["in_progress", "cancelled", "no_answer", "busy", "failed"]
    assert states("--status", "ended_well", "--since", "2025-10-29 01:00") == ["ended", "finished"]
    assert states("--status", "busy") == ["busy"]


@pytest.mark.parametrize("report", ["calls", "durations", "batch-statistics"])
@pytest.mark.parametrize("output", ["table", "json", "csv"])
def test_an_unknown_group_is_an_error(server, filled_database, use, iacalls, report, output):
    use(filled_database)
    with server.connect(filled_database, OWNER) as connection:
        name = connection.execute("INSERT INTO groups (name) VALUES ('Cobranza norte') RETURNING name").fetchone()[0]
    outcome = iacalls("report", report, "--group", "Cobranzas norte", "-o", output)
    assert outcome.code == 1
    assert outcome.out == ""
    assert "there is no group Cobranzas norte" in outcome.error
    assert "did you mean Cobranza norte?" in outcome.error
    outcome = iacalls("report", report, "--group", name, "-o", output)
    assert outcome.code == 0
    assert "no row was found for " in outcome.err
    outcome = iacalls("report", report, "--group", "zzz", "-o", output)
    assert "`iacalls report groups` lists them" in outcome.error


def test_an_unknown_client_is_an_error(server, filled_database, use, iacalls):
    use(filled_database)
    outcome = iacalls("report", "client-history", "2147483647")
    assert outcome.code == 1
    assert "there is no client 2147483647" in outcome.error
    with server.connect(filled_database, OWNER) as connection:
        connection.execute("UPDATE clients SET is_active = false WHERE id = 1")
    assert "the client 1 is not active" in iacalls("report", "client-history", "1").error


def test_a_file_or_table_that_fails_stops_no_other_report(server, filled_database, use, iacalls, folder):
    (folder / "fine.sql").write_text("-- Fine.\nSELECT 1 AS a")
    (folder / "dir.sql").mkdir()
    (folder / "link.sql").symlink_to("nowhere")
    (folder / "latin.sql").write_bytes("-- Año.\nSELECT 1".encode("latin-1"))
    use(filled_database)
    with server.connect(filled_database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE public.whatsapp_conversations IN ACCESS EXCLUSIVE MODE")
        outcome = iacalls("report", "check", "-o", "json")
    states = {row["name"]: row["state"] for row in outcome.json["data"]}
    broken = {"dir", "link", "latin", "stats", "whatsapp"}
    assert {name for name, state in states.items() if state != "ok"} == broken
    assert set(states) == broken | {"fine", *REPORTS}
    assert iacalls("report", "fine").code == 0
