"""What `db verify --sql` makes of values whose meaning a session decides: times, dates, numbers, amounts."""

from contextlib import suppress

import psycopg
import pytest

from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.verify import verify_database
from tests.db.test_verify import problems, run_script
from tests.support.refusals import refused

# How the sessions are set in which people run the script.
SESSIONS = (
    "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'America/Bogota'; SET standard_conforming_strings = off",
    "SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -15; SET bytea_output = 'escape'",
)


def mend(connection, session):
    script = repair_script(verify_database(connection).differences)
    connection.execute("BEGIN READ ONLY; COMMIT")
    if session:
        for statement in session.split("; "):
            # PostgreSQL 19 knows no other value.
            with suppress(DatabaseError):
                connection.execute(statement)
    try:
        run_script(connection, script)
    finally:
        for name in (
            "DateStyle",
            "TimeZone",
            "IntervalStyle",
            "extra_float_digits",
            "bytea_output",
            "standard_conforming_strings",
        ):
            connection.execute(f"RESET {name}")
        connection.execute("SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC'")


TIMES = (
    ("2025-06-01T12:00:00-05:00", "2025-06-01 17:00:00"),
    ("2025-06-01 12:00:00+05:45", "2025-06-01 06:15:00"),
    ("2025-06-01T12:00:00.123456Z", "2025-06-01 12:00:00.123456"),
    ("2025-06-01T12:00:00.5+0530", "2025-06-01 06:30:00.5"),
    ("2025-06-01 12:00-05", "2025-06-01 17:00:00"),
    ("2025-06-01 12:00:00", "2025-06-01 12:00:00"),
    ("2025-06-01", "2025-06-01 00:00:00"),
    ("infinity", "infinity"),
    (None, None),
)
NO_TIMES = ("03/04/2025 10:00", "01.02.2025", "20250601", "2025-06-01 12:00:00 America/Bogota", "2025-06-01 12:00 EST", "now",
            "yesterday", "epoch", "1748779200", "2025-06-01T12:00:00.1234567Z", "June 1 2025", "12:00", "2025-06-31")  # fmt: skip


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize("kind", ["text", "varchar(40)"])
def test_text_with_an_offset_keeps_its_moment(connection, kind, session):
    connection.execute(f"ALTER TABLE users ALTER time TYPE {kind}")
    connection.execute("DELETE FROM users")
    for number, (text, _) in enumerate(TIMES):
        connection.execute(
            "INSERT INTO users (username, email, password, time) VALUES (%s, %s, 'x', %s)",
            [f"u{number}", f"e{number}", text],
        )
    mend(connection, session)
    assert problems(connection) == []
    found = [time for (time,) in connection.execute("SELECT time::text FROM users ORDER BY username")]
    assert found == [wanted for _, wanted in TIMES]


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_is_no_iso_time_stops_the_script(connection, text):
    connection.execute("ALTER TABLE users ALTER time TYPE text")
    connection.execute("UPDATE users SET time = %s", [text])
    with refused(psycopg.errors.InvalidDatetimeFormat, psycopg.errors.DatetimeFieldOverflow):
        mend(connection, SESSIONS[0])
    assert connection.execute("SELECT DISTINCT time FROM users").fetchall() == [(text,)]
    assert [item.object for item in problems(connection)] == ["column users.time"]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("timestamptz", "2025-06-01 12:00:00-05", "2025-06-01 17:00:00"),
        ("date", "2025-03-04", "2025-03-04 00:00:00"),
        ("date", "0044-03-15 BC", "0044-03-15 00:00:00 BC"),
        ("timestamp(3)", "2025-03-04 10:00:00.123", "2025-03-04 10:00:00.123"),
        ("timestamp(0) with time zone", "2025-03-04 10:00:00+02", "2025-03-04 08:00:00"),
    ],
)
@pytest.mark.parametrize("session", SESSIONS)
def test_other_types_of_times(connection, kind, value, wanted, session):
    connection.execute(f"ALTER TABLE users ALTER time TYPE {kind} USING NULL")
    connection.execute("UPDATE users SET time = %s", [value])
    mend(connection, session)
    assert problems(connection) == []
    assert connection.execute("SELECT DISTINCT time::text FROM users").fetchall() == [(wanted,)]


@pytest.mark.parametrize("kind", ["time", "timetz", "interval", "integer", "bigint", "boolean"])
def test_what_is_no_moment_stops_the_script(connection, kind):
    values = {
        "time": "12:00",
        "timetz": "12:00+02",
        "interval": "1 day",
        "integer": "20250601",
        "bigint": "1748779200",
        "boolean": "t",
    }
    connection.execute(f"ALTER TABLE users ALTER time TYPE {kind} USING NULL")
    connection.execute("UPDATE users SET time = %s", [values[kind]])
    with pytest.raises(DatabaseError):
        mend(connection, "")
    assert [item.object for item in problems(connection)] == ["column users.time"]


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("double precision", "9007199254740991", 9007199254740991),
        ("double precision", "123456789012345680", 123456789012345680),
        ("real", "16777216", 16777216),
        ("numeric(20,4)", "12.0000", 12),
        ("money", "1234.00", 1234),
        ("text", "9007199254740993", 9007199254740993),
    ],
)
def test_numbers_keep_every_digit(connection, kind, value, wanted, session):
    connection.execute(f"ALTER TABLE call_records ALTER audio_size TYPE {kind} USING NULL")
    connection.execute(
        f"INSERT INTO call_records (phone_number, audio_size) VALUES ('1', CAST(%s::text::numeric AS {kind}))", [value]
    )
    mend(connection, session)
    assert problems(connection) == []
    assert connection.execute("SELECT audio_size FROM call_records").fetchone() == (wanted,)


def test_an_amount_with_a_fraction_stops_the_script(connection):
    connection.execute("ALTER TABLE call_records ALTER audio_size TYPE money USING NULL")
    connection.execute("INSERT INTO call_records (phone_number, audio_size) VALUES ('1', 12.34::numeric::money)")
    with refused(psycopg.errors.InvalidTextRepresentation):
        mend(connection, "")


@pytest.mark.parametrize("session", SESSIONS)
@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("timestamptz", "'2025-06-01 12:00:00-05'", "2025-06-01 17:00:00+00"),
        ("date", "'2025-03-04'", "2025-03-04"),
        ("interval", "'1 day 2 hours'", "1 day 02:00:00"),
        ("double precision", "0.1::float8 + 0.2", "0.30000000000000004"),
        ("bytea", "'\\x41ff'", "\\x41ff"),
        ("money", "12.34::numeric::money", "12.34"),
    ],
)
def test_values_that_become_text(connection, kind, value, wanted, session):
    connection.execute(f"ALTER TABLE clients ALTER external_id TYPE {kind} USING NULL")
    connection.execute(f"INSERT INTO clients (name, external_id) VALUES ('x', {value})")
    mend(connection, session)
    assert problems(connection) == []
    assert connection.execute("SELECT external_id FROM clients").fetchone() == (wanted,)
