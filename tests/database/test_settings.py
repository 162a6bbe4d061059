"""Settings of role, database and environment that would change how values are read, or how long work may take."""

import os

import pytest

from iacalls_cli.config.target import Target
from iacalls_cli.database.connection import open_session
from iacalls_cli.database.programs import connect_client
from iacalls_cli.database.settings import known_settings, program_options
from tests.support.servers import OWNER

HOSTILE = {
    "array_nulls": "off", "xmloption": "document", "DateStyle": "SQL, DMY", "IntervalStyle": "iso_8601",
    "bytea_output": "escape", "extra_float_digits": "-15", "transform_null_equals": "on",
    "default_transaction_read_only": "on", "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off", "quote_all_identifiers": "on",
}  # fmt: skip
SET_AGAIN = {
    "array_nulls": "on", "xmloption": "content", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres",
    "bytea_output": "hex", "extra_float_digits": "1", "transform_null_equals": "off",
    "default_transaction_read_only": "off", "default_transaction_isolation": "read committed",
    "standard_conforming_strings": "on",
}  # fmt: skip
TIMES = {
    "statement_timeout": "150ms", "lock_timeout": "150ms", "idle_in_transaction_session_timeout": "150ms",
    "idle_session_timeout": "150ms",
}  # fmt: skip


@pytest.fixture
def hostile(server, database):
    """The role's sessions in this database begin with every setting as it should not be."""
    times = {**TIMES, **({"transaction_timeout": "150ms"} if server.major >= 17 else {})}
    with server.connect(database) as admin:
        for name, value in {**HOSTILE, **times}.items():
            admin.execute(f"ALTER ROLE {OWNER} IN DATABASE {database} SET {name} = '{value}'")
        admin.execute(f"ALTER DATABASE {database} SET lc_monetary = 'C'")
        admin.execute(f"ALTER DATABASE {database} SET enable_seqscan = off")
    return database


def settings_of(connection, names):
    return {name: connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0] for name in names}


def test_a_session_has_its_own_settings(server, hostile):
    session = open_session(Target("--dsn", dsn=server.dsn(hostile, OWNER)), "x", read_only=False)
    assert settings_of(session.connection, SET_AGAIN) == SET_AGAIN
    assert settings_of(session.connection, ["enable_seqscan", "session_replication_role"]) == {
        "enable_seqscan": "off",
        "session_replication_role": "origin",
    }
    assert settings_of(session.connection, ["statement_timeout", "idle_session_timeout"]) == {
        "statement_timeout": "15min",
        "idle_session_timeout": "0",
    }
    if server.major >= 17:
        assert settings_of(session.connection, ["transaction_timeout"]) == {"transaction_timeout": "0"}
    session.close()


@pytest.mark.parametrize("options", ["environment", "service", "profile", "none"])
def test_a_client_program_has_them_too_behind_the_users_own(server, hostile, monkeypatch, tmp_path, options):
    own = "-c work_mem=7MB -c array_nulls=off"
    dsn, keywords = server.dsn(hostile, OWNER), {}
    if options == "environment":
        monkeypatch.setenv("PGOPTIONS", own)
    elif options == "service":
        (tmp_path / "services").write_text(f"[calls]\noptions={own}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        keywords = {"service": "calls"}
    elif options == "profile":
        keywords = {"options": own}
    target = Target("--dsn", dsn=dsn, keywords=keywords)
    session = open_session(target, "x", read_only=False)
    client = connect_client(session, target, "x")
    shown = "; ".join(f"SHOW {name}" for name in [*SET_AGAIN, *TIMES, "work_mem"])
    with client.start("psql", "-XAtd", client.conninfo, "-c", shown, stdout=-1) as psql:
        assert psql.process.stdout is not None
        lines = psql.process.stdout.read().decode().split("\n")
        psql.check()
    assert lines[: len(SET_AGAIN)] == list(SET_AGAIN.values())
    assert lines[len(SET_AGAIN) : len(SET_AGAIN) + len(TIMES)] == ["0"] * len(TIMES)
    assert (lines[len(SET_AGAIN) + len(TIMES)] == "7MB") is (options != "none")
    assert "PGPASSWORD" not in client.conninfo
    session.close()


def test_only_settings_that_the_server_knows():
    assert known_settings({"transaction_timeout": "0", "array_nulls": "on"}, 160_004) == {"array_nulls": "on"}
    assert "transaction_timeout" in program_options(170_000)
    assert "transaction_timeout" not in program_options(169_999)
    assert "idle_session_timeout" not in program_options(130_009)
    assert r"-c DateStyle=ISO,\ YMD" in program_options(180_000)
    assert r"read\ committed" in program_options(180_000)


VALUES = """
    CREATE TABLE public.kinds (id int PRIMARY KEY, created_at timestamp, a text[], i interval, f float8, b bytea, d date,
                               m money, t timestamptz, q int4range[], c text);
    INSERT INTO public.kinds VALUES
        (1, '2020-01-01', '{a,NULL,"NULL",""}', '-1 year 2 days 03:04:05.678', 0.1::float8 + 0.2, '\\x00ff5c27',
         '2020-02-03', 1234.56::numeric::money, '2020-05-04 03:02:01.000001+02', '{NULL,"[1,2)"}', NULL),
        (2, '2020-01-01', '{NULL}', '1 mon -1 day', 1e-300, '', '0044-03-15 BC', (-0.01)::numeric::money, 'infinity', '{}', '');
"""


@pytest.fixture
def kinds(server, hostile, use):
    """A table of values whose text depends on settings, and its content."""
    # As the owner, without what the owner's own sessions begin with: its time limits are short on a busy machine.
    with server.connect(hostile) as connection:
        connection.execute(f"SET ROLE {OWNER}")
        connection.execute(VALUES)
    use(hostile)
    return hostile


def content(server, database, table="public.kinds"):
    """The rows as bytes that no setting changes."""
    with server.connect(database) as connection:
        columns = "id, created_at, array_send(a), interval_send(i), float8send(f), b, date_send(d), cash_send(m), t::text, q::text, c"
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()


def test_undo_brings_every_value_back(server, kinds, iacalls, configure, archive_folder):
    configure('[maintain.rules.kinds]\ntable = "kinds"\nage_column = "created_at"\nage = "30d"\n')
    before = content(server, kinds)
    folder = ["--directory", str(archive_folder)]
    outcome = iacalls("maintain", "cleanup", "--only", "kinds", *folder)
    assert outcome.code == 0, outcome.err
    assert content(server, kinds) == []
    # The locale of money is another one by now.
    with server.connect(kinds) as admin:
        admin.execute(f"ALTER DATABASE {kinds} SET lc_monetary = '{other_locale(admin)}'")
    outcome = iacalls("maintain", "undo", "newest", *folder)
    assert outcome.code == 0, outcome.err
    assert content(server, kinds) == before


def other_locale(admin):
    """A locale whose money is written otherwise, or C where the machine has none."""
    for name in ("de_DE.utf8", "es_CO.utf8", "ja_JP.utf8", "C.utf8"):
        try:
            admin.execute(f"SET lc_monetary = '{name}'")
        except Exception:
            continue
        admin.execute("RESET lc_monetary")
        return name
    return "C"


def test_a_backup_brings_every_value_back(server, kinds, iacalls, new_backup):
    before = content(server, kinds)
    made, _ = new_backup()
    folder = ["--directory", str(made.parent)]
    copy = f"{kinds}_copy"
    try:
        outcome = iacalls("backup", "restore", made.name, "--into", copy, *folder)
        assert outcome.code == 0, outcome.err
        assert content(server, copy) == before
    finally:
        server.drop_database(copy)
    with server.connect(kinds) as admin:
        admin.execute("TRUNCATE users, kinds CASCADE")
    outcome = iacalls("backup", "restore", made.name, "--data-only", *folder)
    assert outcome.code == 0, outcome.err
    assert content(server, kinds) == before
    outcome = iacalls("backup", "restore", made.name, "--table", "kinds", *folder, "-o", "json")
    assert outcome.code == 0, outcome.err
    with server.connect(kinds) as admin:
        schema = admin.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'restored%'").fetchone()[0]
    assert content(server, kinds, f'"{schema}".kinds') == before


def test_reports_show_money_as_the_database_does(server, database, use, iacalls, tmp_path):
    use(database)
    (tmp_path / "money.sql").write_text("-- Money.\nSELECT current_setting('lc_monetary') AS money\n")
    with server.connect(database) as admin:
        locale = other_locale(admin)
        admin.execute(f"ALTER DATABASE {database} SET lc_monetary = '{locale}'")
    assert iacalls("report", "run", "money.sql", "-o", "json").json["data"] == [{"money": locale}]


def test_the_environment_of_this_process_stays(server, database, monkeypatch):
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=7MB")
    target = Target("--dsn", dsn=server.dsn(database, OWNER))
    session = open_session(target, "x")
    connect_client(session, target, "x")
    assert os.environ["PGOPTIONS"] == "-c work_mem=7MB"
    session.close()
