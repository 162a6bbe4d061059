"""What is old: the rules of the config file, checked key by key and then against the live schema."""

from pathlib import Path

import pytest
from psycopg import sql

from iacalls_cli.config.file import load_config
from iacalls_cli.errors import UsageError
from tests.support.cleanups import by_name, rows_of
from tests.support.servers import OWNER

RULE = """
[maintain.rules.quejas]
table = "{table}"
age_column = "{age_column}"
age = "{age}"
filter = '''{filter}'''
"""


@pytest.fixture
def owner(server, database, use):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    with server.connect(database, OWNER) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "INSERT INTO whatsapp_conversations (phone_number, status, error_message, created_at) VALUES"
            " ('1', 'failed', '100 %', '2020-01-01'), ('2', 'sent', 'it''s', '2020-01-01'), ('3', 'sent', NULL, now())"
        )
        yield connection


@pytest.fixture
def plan(iacalls, configure):
    """The outcome of planning one rule of the config file."""

    def run(**values):
        usual = {"table": "whatsapp_conversations", "age_column": "created_at", "age": "30d", "filter": "true"}
        configure(RULE.format(**{**usual, **values}))
        return iacalls("maintain", "cleanup", "--only", "quejas", "--dry-run", "-o", "json")

    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[maintain]\ndays = 0", "'maintain.days' is not a number of days: 0"),
        ("[maintain]\ndays = -3", "'maintain.days' is not a number of days: -3"),
        ("[maintain]\ndays = true", "'maintain.days' is not a number of days"),
        ("[maintain]\ndays = '30'", "'maintain.days' is not a number of days"),
        ("[maintain]\ndays = 36501", "'maintain.days' is not a number of days"),
        ("[maintain]\nfailed_call_days = 1.5", "'maintain.failed_call_days' is not a number of days"),
        ("[maintain]\ndias = 3", "unknown key 'maintain.dias'"),
        ("[maintain]\narchives = 3", "'maintain.archives' is not a text"),
        ("[maintain]\narchives = ''", "'maintain.archives' is not a text"),
        ("[maintain]\nkeep_archives = 180", "'maintain.keep_archives' is not a text"),
        ("[maintain]\nrules = 3", "'maintain.rules' is not a table"),
        ("maintain = 3", "'maintain' is not a table"),
        ("[maintain.rules]\nx = 3", "'maintain.rules.x' is not a table"),
        ("[maintain.rules.whatsapp]\ntable = 'x'\nage_column = 'y'\nage = '3d'", "has the name of a built-in rule"),
        ("[maintain.rules.failed-calls]\ntable = 'x'", "has the name of a built-in rule"),
        ("[maintain.rules.'']\ntable = 'x'", "has no name"),
        ("[maintain.rules.x]\ntable = 'x'\nage = '3d'", "'maintain.rules.x' lacks age_column"),
        ("[maintain.rules.x]\nage_column = 'x'\nage = '3d'", "'maintain.rules.x' lacks table"),
        ("[maintain.rules.x]\ntable = 'x'\nage_column = 'y'", "'maintain.rules.x' lacks age"),
        ("[maintain.rules.x]\ntabla = 'x'", "'maintain.rules.x.tabla' is an unknown key"),
        ("[maintain.rules.x]\nname = 'y'", "'maintain.rules.x.name' is an unknown key"),
        ("[maintain.rules.x]\ntable = ''", "'maintain.rules.x.table' cannot be ''"),
        ("[maintain.rules.x]\ntable = 3", "'maintain.rules.x.table' cannot be 3"),
        ("[maintain.rules.x]\narchive = 'yes'", "'maintain.rules.x.archive' cannot be 'yes'"),
        ("[maintain.rules.x]\nage = 90", "'maintain.rules.x.age' cannot be 90"),
        ("[maintain.rules.x]\nfilter = ''", "'maintain.rules.x.filter' cannot be ''"),
        ("[maintain.rules.x]\nfilter = ['a']", "'maintain.rules.x.filter' cannot be ['a']"),
    ],
)
def test_wrong_keys_and_values_are_named_with_their_file(configure, text, message):
    configure(text)
    with pytest.raises(UsageError) as caught:
        load_config()
    assert message in caught.value.message
    assert "config.toml" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[maintain]\nkeep_archives = 'for ever'", "maintain.keep_archives is not a duration: for ever"),
        ("[maintain]\nmax_duration = '30'", "maintain.max_duration is not a duration: 30"),
        ("[maintain]\npause = '-1s'", "maintain.pause is not a duration: -1s"),
        (RULE.format(table="users", age_column="created_at", age="soon", filter="true"), "maintain.rules.quejas.age is not a duration: soon"),
        (RULE.format(table="users", age_column="created_at", age="0d", filter="true"), "maintain.rules.quejas.age is nothing"),
        (RULE.format(table="users", age_column="created_at", age="999999999d", filter="true"), "is before all time"),
        (RULE.format(table="users", age_column="created_at", age="999999999999999w", filter="true"), "maintain.rules.quejas.age is too long"),
    ],
)  # fmt: skip
def test_durations_are_read_before_anything_runs(owner, iacalls, configure, text, message):
    configure(text)
    outcome = iacalls("maintain", "cleanup")
    assert outcome.code == 2
    assert message in outcome.error
    assert len(rows_of(owner, "whatsapp_conversations")) == 3


@pytest.mark.parametrize("option", ["--max-duration", "--pause", "--keep-archives"])
@pytest.mark.parametrize("value", ["", "30", "soon", "-1d"])
def test_durations_of_the_command_line(iacalls, option, value):
    outcome = iacalls("maintain", "cleanup", option, value)
    assert outcome.code == 2
    assert f"{option} is not a duration: {value}".strip() in outcome.error


@pytest.mark.parametrize("option", ["--max-duration", "--keep-archives"])
def test_durations_that_are_nothing(owner, iacalls, configure, option):
    outcome = iacalls("maintain", "cleanup", option, "0s")
    assert outcome.code == 2
    assert f"{option} cannot be 0s" in outcome.error
    key = option.removeprefix("--").replace("-", "_")
    configure(f"[maintain]\n{key} = '0d'")
    assert f"maintain.{key} cannot be 0d" in iacalls("maintain", "cleanup").error


def test_archives_may_be_kept_for_longer_than_there_was_time(owner, iacalls):
    assert iacalls("maintain", "cleanup", "--keep-archives", "99999999d").code == 0


@pytest.mark.parametrize(
    ("option", "value"), [("--days", "0"), ("--days", "36501"), ("--failed-call-days", "-1"), ("--days", "x")]
)
def test_days_of_the_command_line(iacalls, option, value):
    outcome = iacalls("maintain", "cleanup", option, value)
    assert outcome.code == 2
    assert option in outcome.error


def test_a_file_in_the_current_folder_may_not_decide_on_deleting(owner, iacalls):
    Path("iacalls.toml").write_text("[maintain]\ndays = 1\n")
    outcome = iacalls("maintain", "cleanup", "--dry-run")
    assert outcome.code == 2
    assert "'maintain' would decide on deleting rows from a file in the current folder" in outcome.error
    Path("iacalls.toml").write_text("[session]\nlock_timeout = '1s'\n")
    assert iacalls("maintain", "cleanup", "--dry-run").code == 0


NO_CONDITIONS = (
    "true) OR (true",
    "false) UNION SELECT (true",
    "true UNION SELECT true",
    "true; DROP TABLE public.users",
    "true; SELECT true",
    "true); DROP TABLE public.users; --",
    "true OR true) --",
    "true /*",
    "'open",
    "$$open",
    '"open',
    "true ORDER BY 1",
    "true LIMIT 1",
    "true FOR UPDATE",
    "true AS x",
    "true, true",
    "DISTINCT true",
    "*",
    "1",
    "NULL::text",
    "count(*) > 0",
    "row_number() OVER () > 1",
    "generate_series(1, 2) > 0",
    "no_such_column = 1",
    "other.created_at IS NULL",
    "status == 'x'",
    "DELETE FROM public.users",
    "(WITH x AS (DELETE FROM public.users RETURNING 1) SELECT true FROM x)",
    "now() > (SELECT max(created_at) FROM no_such_table)",
    "$1",
)


def test_a_filter_is_one_condition_or_nothing(owner, plan):
    users = rows_of(owner, "users")
    for text in NO_CONDITIONS:
        outcome = plan(filter=text)
        assert (outcome.code, outcome.out) == (2, ""), text
        assert outcome.error.startswith(
            "iacalls: error: rule quejas: its filter is not a condition over whatsapp_conversations"
        )
        assert "Hint: write one SQL condition" in outcome.error
    assert rows_of(owner, "users") == users


def test_a_filter_that_fails_on_a_row_is_named_without_the_row(owner, iacalls, configure):
    owner.execute("UPDATE users SET email = 'geheim@example.com', created_at = '2020-01-01'")
    configure(RULE.format(table="users", age_column="created_at", age="1h", filter="email::integer > 0"))
    outcome = iacalls("maintain", "cleanup", "--only", "quejas", "--dry-run")
    assert outcome.code == 1
    assert "rule quejas: its filter fails on a row of users" in outcome.error
    assert "geheim" not in outcome.err


def test_a_plan_writes_nothing_whatever_its_filter_calls(owner, plan):
    before = owner.execute("SELECT last_value FROM users_id_seq").fetchone()
    outcome = plan(filter="nextval('public.users_id_seq') > 0")
    assert outcome.code == 1
    assert (
        "rule quejas: its filter cannot be asked: cannot execute nextval() in a read-only transaction" in outcome.error
    )
    assert owner.execute("SELECT last_value FROM users_id_seq").fetchone() == before


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("status = 'failed'", 1),
        ("error_message LIKE '100 %'", 1),
        ("error_message LIKE '%%s%%' -- 100 %", 1),
        ("status = 'sent' /* ) */ ", 1),
        ("false OR true", 2),
        ("error_message = 'it''s'", 1),
        ("error_message ~ '^\\d{3} %' OR error_message = '{}'", 1),
        ("whatsapp_conversations.status = 'sent'", 1),
        ("NOT EXISTS (SELECT FROM public.clients AS c WHERE c.phone = phone_number)", 2),
        ("NULL", 0),
        ("status = $$sent$$", 1),
        ("status NOT IN ('failed', NULL)", 0),
    ],
)
def test_filters_mean_what_they_say(owner, plan, iacalls, tmp_path, text, rows):
    outcome = plan(filter=text)
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"][0]["rows"] == rows
    done = iacalls("maintain", "cleanup", "--only", "quejas", "--directory", str(tmp_path / "a"), "-o", "json")
    assert done.json["data"][0]["deleted"] == rows
    assert len(rows_of(owner, "whatsapp_conversations")) == 3 - rows


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"table": "nada"}, "rule quejas: nada does not exist in this database"),
        ({"table": "otro.users"}, "rule quejas: otro.users does not exist in this database"),
        ({"table": "users; DROP TABLE users"}, "rule quejas: users; DROP TABLE users does not exist"),
        ({"table": "group_statistics"}, "rule quejas: group_statistics is not a table of this database"),
        ({"table": "users_id_seq"}, "rule quejas: users_id_seq is not a table of this database"),
        ({"table": "pg_catalog.pg_authid", "age_column": "rolvaliduntil"}, "pg_catalog.pg_authid does not exist"),
        ({"age_column": "nada"}, "the age column nada of whatsapp_conversations does not exist"),
        ({"age_column": "status"}, "the age column status of whatsapp_conversations is of type character varying"),
        ({"age_column": "updated_at"}, "updated_at says when a row was last written"),
        ({"age_column": 'created_at" OR "x'}, "the age column created_at"),
    ],
)  # fmt: skip
def test_rules_are_checked_against_the_live_schema(owner, plan, values, message):
    outcome = plan(**{key: value.replace('"', '\\"') for key, value in values.items()})
    assert outcome.code == 2, outcome.err
    assert message in outcome.error
    assert "Hint: " in outcome.error


def test_the_hint_names_the_columns_that_fit(owner, plan):
    assert "Hint: columns with a time: sent_at, received_at, created_at" in plan(age_column="status").error


def test_one_wrong_rule_stops_all_of_them(owner, iacalls, configure):
    configure(RULE.format(table="nada", age_column="created_at", age="30d", filter="true"))
    outcome = iacalls("maintain", "cleanup")
    assert outcome.code == 2
    assert len(rows_of(owner, "whatsapp_conversations")) == 3
    assert iacalls("maintain", "cleanup", "--only", "whatsapp").code == 0
    assert len(rows_of(owner, "whatsapp_conversations")) == 1


def test_a_table_of_the_built_in_rules_that_the_database_lacks(owner, iacalls):
    owner.execute("DROP TABLE whatsapp_conversations")
    outcome = iacalls("maintain", "cleanup")
    assert outcome.code == 1
    assert "rule whatsapp: whatsapp_conversations does not exist in this database" in outcome.error
    assert "`iacalls db verify` compares the schema; the other rules can be cleaned up alone" in outcome.error
    assert iacalls("maintain", "cleanup", "--only", "failed-calls").code == 0


def test_a_rule_that_does_not_exist(owner, iacalls, plan):
    plan()
    outcome = iacalls("maintain", "cleanup", "--only", "nada")
    assert outcome.code == 2
    assert "there is no rule 'nada'. Hint: the rules are: whatsapp, failed-calls, quejas" in outcome.error


def test_names_that_need_quotes(owner, iacalls, configure, tmp_path):
    owner.execute('CREATE SCHEMA "Otro %s"; CREATE TABLE "Otro %s"."Mi ""tabla"" {}" ("El día" date, "%s" text)')
    owner.execute(
        """INSERT INTO "Otro %s"."Mi ""tabla"" {}" VALUES ('2020-01-01', 'a%sb{}'), ('-infinity', NULL), (NULL, ''), (now(), 'x')"""
    )
    configure(
        "[maintain.rules.'una regla %s {}']\ntable = 'Otro %s.Mi \"tabla\" {}'\nage_column = 'El día'\nage = '4w'\n"
        """filter = '''"%s" IS NULL OR "Mi ""tabla"" {}"."%s" LIKE 'a%%' '''"""
    )
    command = ["maintain", "cleanup", "--only", "una regla %s {}", "--directory", str(tmp_path / "a"), "-o", "json"]
    plan = iacalls(*command, "--dry-run").json["data"][0]
    assert (plan["rows"], plan["table"], plan["oldest"], plan["newest"]) == (
        2,
        'Otro %s.Mi "tabla" {}',
        "-infinity",
        "2020-01-01",
    )
    done = iacalls(*command)
    assert done.json["data"][0]["deleted"] == 2, done.err
    assert rows_of(owner, 'Mi "tabla" {}', "Otro %s") == sorted(
        [',""'.join("()"), *rows_of(owner, 'Mi "tabla" {}', "Otro %s")[1:]]
    )
    assert iacalls("maintain", "undo", "newest", "--directory", str(tmp_path / "a")).code == 0
    assert len(rows_of(owner, 'Mi "tabla" {}', "Otro %s")) == 4


@pytest.mark.parametrize(
    ("schema", "name", "spelling"),
    [
        ("public", "Order.Items", "Order.Items"),
        ("public", "Order.Items", 'public."Order.Items"'),
        ("public", "Order.Items", '"Order.Items"'),
        ("a.b", "c.d", '"a.b"."c.d"'),
        ("public", 'x"y.z', '"x""y.z"'),
        ("Order", "Items", "Order.Items"),
        ("a.b", "c", "a.b.c"),
    ],
)
def test_names_with_a_dot(owner, iacalls, configure, tmp_path, schema, name, spelling):
    table = sql.Identifier(schema, name)
    owner.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    owner.execute(sql.SQL("CREATE TABLE {} (created_at date)").format(table))
    owner.execute(sql.SQL("INSERT INTO {} VALUES ('2020-01-01'), (now())").format(table))
    configure(f"[maintain.rules.x]\ntable = '{spelling}'\nage_column = 'created_at'\nage = '4w'\nfilter = 'true'\n")
    command = ["maintain", "cleanup", "--only", "x", "--directory", str(tmp_path / "a"), "-o", "json"]
    done = iacalls(*command)
    assert done.code == 0, done.err
    assert done.json["data"][0]["deleted"] == 1
    assert iacalls("maintain", "undo", "newest", "--directory", str(tmp_path / "a")).code == 0
    assert len(rows_of(owner, name, schema)) == 2


def test_config_and_options_of_the_built_in_rules(owner, iacalls, configure):
    """An option wins over the file; --days never makes failed calls younger."""

    def days(*options):
        rules = by_name(iacalls("maintain", "cleanup", "--dry-run", "-o", "json", *options).json["data"])
        (now,) = owner.execute("SELECT now() AT TIME ZONE 'UTC'").fetchone()
        cut_offs = [rules[name]["cut_off"] for name in ("whatsapp", "failed-calls")]
        return [
            round((now - type(now).fromisoformat(text).replace(tzinfo=None)).total_seconds() / 86400)
            for text in cut_offs
        ]

    assert days() == [30, 60]
    assert days("--days", "1") == [1, 60]
    assert days("--days", "100") == [100, 60]
    assert days("--failed-call-days", "7") == [30, 7]
    configure("[maintain]\ndays = 45\nfailed_call_days = 90\n")
    assert days() == [45, 90]
    assert days("--days", "2", "--failed-call-days", "3") == [2, 3]


@pytest.mark.parametrize(("age", "words"), [("6m", "m may be minutes or months"), ("1ms", "nearly every row would be old"),
                                            ("90s", "nearly every row would be old"), ("30min", "nearly every row would be old"),
                                            ("6 m", "m may be minutes or months")])  # fmt: skip
def test_an_age_that_may_be_meant_as_months_is_refused(owner, plan, iacalls, configure, age, words):
    outcome = plan(age=age)
    assert outcome.code == 2
    assert f"maintain.rules.quejas.age cannot be {age}: {words}" in outcome.error
    words = words.replace("row", "archive").replace("old", "removed")
    configure("")
    outcome = iacalls("maintain", "cleanup", "--keep-archives", age)
    assert outcome.code == 2
    assert f"--keep-archives cannot be {age}: {words}" in outcome.error
    configure(f"[maintain]\nkeep_archives = '{age}'\n")
    assert f"maintain.keep_archives cannot be {age}: {words}" in iacalls("maintain", "cleanup").error
    assert len(rows_of(owner, "whatsapp_conversations")) == 3


@pytest.mark.parametrize("age", ["36h", "1h", "2 d", "26w"])
def test_ages_in_hours_days_and_weeks_are_clear(owner, plan, age):
    assert plan(age=age).code == 0


@pytest.mark.parametrize("option", ["--max-age", "--max-proven-age"])
def test_ages_of_backups_are_not_in_m_either(iacalls, option):
    outcome = iacalls("backup", "check", option, "6m")
    assert outcome.code == 2
    assert "cannot be 6m: m may be minutes or months" in outcome.error


def test_a_batch_is_not_running_for_m(iacalls, owner, configure):
    configure("[maintain]\nrunning_within = '6m'\n")
    assert "maintain.running_within cannot be 6m: m may be minutes or months" in iacalls("maintain", "cleanup").error


@pytest.fixture
def dotted(owner, server, database):
    """Tables whose names and schemas hold a dot, each with an old row."""
    with server.connect(database) as admin:
        admin.execute(f'CREATE SCHEMA "a.b" AUTHORIZATION {OWNER}; CREATE SCHEMA app AUTHORIZATION {OWNER}')
    for table in ('public."Order.Items"', '"a.b"."c.d"', "app.events", 'app."x.y"'):
        owner.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, created_at timestamp)")
        owner.execute(f"INSERT INTO {table} VALUES (1, '2020-01-01'), (2, now())")
    return owner


@pytest.mark.parametrize(
    ("written", "table"),
    [
        ("Order.Items", 'public."Order.Items"'),
        ('"Order.Items"', 'public."Order.Items"'),
        ('public."Order.Items"', 'public."Order.Items"'),
        ("public.Order.Items", 'public."Order.Items"'),
        ("a.b.c.d", '"a.b"."c.d"'),
        ('"a.b"."c.d"', '"a.b"."c.d"'),
        ("app.events", "app.events"),
        ("app.x.y", 'app."x.y"'),
        ("'app'", ""),
        ("Order.Item", ""),
    ],
)
def test_a_rule_finds_a_table_with_a_dot_in_its_name(dotted, plan, written, table):
    written = written.replace('"', '\\"')
    outcome = plan(table=written)
    if not table:
        assert outcome.code == 2
        assert "does not exist in this database" in outcome.error
        return
    assert outcome.code == 0, outcome.err
    assert by_name(outcome.json["data"])["quejas"]["rows"] == 1


def test_a_name_that_may_be_two_tables_is_refused(dotted, plan):
    dotted.execute('CREATE TABLE "app.events" (id int PRIMARY KEY, created_at timestamp)')
    outcome = plan(table="app.events")
    assert outcome.code == 2
    assert "app.events may be 2 tables of this database" in outcome.error
    assert """table = '"app"."events"' or '"public"."app.events"'""" in outcome.error
    assert plan(table='public.\\"app.events\\"').code == 0


def test_a_table_with_a_dot_is_cleaned_up_and_comes_back(dotted, iacalls, configure):
    configure("[maintain.rules.\"Order.Items\"]\ntable = 'Order.Items'\nage_column = 'created_at'\nage = '30d'\n")
    outcome = iacalls("maintain", "cleanup", "--only", "Order.Items", "-o", "json")
    assert outcome.code == 0, outcome.err
    assert dotted.execute('SELECT id FROM "Order.Items"').fetchall() == [(2,)]
    outcome = iacalls("maintain", "undo", "newest", "--yes")
    assert outcome.code == 0, outcome.err
    assert dotted.execute('SELECT id FROM "Order.Items" ORDER BY 1').fetchall() == [(1,), (2,)]
