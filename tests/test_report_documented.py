"""The reports against the documented SQL, on random data: the same rows under the same names."""

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iacalls_cli.database.rows import stream
from iacalls_cli.operations.report import bind_values, find_report
from iacalls_cli.values import make_clock
from tests.random_rows import fill
from tests.servers import OWNER

FOLDER = Path(__file__).parent / "documented"
# The column the documented query sorts by; rows that tie there have no documented order.
SORTED_BY = {
    "calls": "call_ended_at",
    "whatsapp": "sent_at",
    "top-clients": "total_llamadas",
    "durations": "total_llamadas",
}
REPORTS = ("groups", "calls", "whatsapp", "stats", "top-clients", "durations", "group-statistics", "client-history",
           "batch-statistics")  # fmt: skip
NO_LIMIT = 1_000_000


def documented(connection, name, limit=True):
    """Names and rows of a documented query."""
    text = (FOLDER / f"{name}.sql").read_text()
    if not limit:
        text = text.replace("LIMIT 20", "").replace("LIMIT 10", "")
    cursor = connection.execute(text)
    return [column.name for column in cursor.description], cursor.fetchall()


def ours(connection, name, **given_values):
    """Names and rows of a report, the rows as the server's text."""
    query = find_report(name, None)
    if name == "client-history":
        given_values.setdefault("client_id", 1)
    table = stream(connection, query, bind_values(query, given_values, make_clock("UTC")))
    return [column.name for column in table.columns], list(table.rows)


def as_text(value):
    """A Python value as PostgreSQL's text."""
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, list | dict):
        return json.dumps(value)
    return value if value is None else str(value) if not isinstance(value, Decimal) else format(value, "f")


def as_texts(rows):
    return [tuple(as_text(value) for value in row) for row in rows]


def compare(connection, name):
    names, all_rows = documented(connection, name, limit=False)
    _, wanted = documented(connection, name)
    our_names, rows = ours(connection, name)
    assert our_names == names
    assert len(rows) == len(wanted)
    everything = as_texts(all_rows)
    if name in SORTED_BY:
        column = names.index(SORTED_BY[name])
        assert [row[column] for row in rows] == [row[column] for row in as_texts(wanted)]
        for row in rows:
            everything.remove(row)  # each is a documented row, none comes twice
    else:
        assert sorted(rows, key=repr) == sorted(everything, key=repr)


@pytest.mark.parametrize("name", REPORTS)
def test_same_rows_on_a_filled_database(server, filled_database, name):
    with server.connect(filled_database, OWNER) as connection:
        compare(connection, name)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), size=st.integers(1, 60))
def test_same_rows_on_random_data(connection, seed, size):
    with connection.transaction(force_rollback=True):
        fill(connection, seed, size)
        for name in REPORTS:
            compare(connection, name)


@pytest.mark.parametrize("name", REPORTS)
def test_same_rows_in_an_empty_database(connection, name):
    compare(connection, name)


@pytest.mark.parametrize(
    ("name", "view"), [("group-statistics", "group_statistics"), ("batch-statistics", "batch_call_statistics")]
)
def test_views_are_shown_whole(server, filled_database, name, view):
    with server.connect(filled_database, OWNER) as connection:
        count = connection.execute(f"SELECT count(*) FROM {view}").fetchone()[0]
        assert len(ours(connection, name)[1]) == count


def test_the_order_of_groups_is_the_documented_one(server, filled_database):
    with server.connect(filled_database, OWNER) as connection:
        created = dict(connection.execute("SELECT name, created_at FROM groups").fetchall())
        _, rows = ours(connection, "groups")
    moments = [created[row[0]] for row in rows]
    assert moments == sorted(moments, key=lambda moment: (moment is not None, moment and -moment.timestamp()))
    assert len(moments) > 1


@pytest.mark.parametrize("name", [name for name in REPORTS if name != "stats"])
def test_limit(server, filled_database, name):
    with server.connect(filled_database, OWNER) as connection:
        _, rows = ours(connection, name, limit=NO_LIMIT)
        assert ours(connection, name, limit=0)[1] == []
        assert len(ours(connection, name, limit=1)[1]) == min(1, len(rows))


def test_documented_limits_are_the_defaults():
    defaults = {name: {p.name: p.default for p in find_report(name, None).parameters}.get("limit") for name in REPORTS}
    assert {name: limit for name, limit in defaults.items() if limit} == {"calls": "20", "top-clients": "10"}


@pytest.mark.parametrize("name", REPORTS)
def test_filters_keep_a_part_of_the_rows(server, filled_database, name):
    """Each filter, on its own, gives exactly the rows that a plain condition gives."""
    with server.connect(filled_database, OWNER) as connection:
        parameters = {parameter.name: parameter for parameter in find_report(name, None).parameters}
        names, everything = ours(connection, name, **({"limit": NO_LIMIT} if "limit" in parameters else {}))
        if "status" in parameters:
            column = next(i for i, c in enumerate(names) if "status" in c)
            for status in parameters["status"].choices:
                _, rows = ours(connection, name, status=status, limit=NO_LIMIT)
                assert all(row[column] == status for row in rows)
                if parameters["status"].default is None:
                    assert sorted(map(repr, rows)) == sorted(repr(row) for row in everything if row[column] == status)
        if "since" in parameters:
            _, rows = ours(connection, name, since="2025-06-05", limit=NO_LIMIT)
            assert len(rows) <= len(everything)
            assert ours(connection, name, since="2099-01-01")[1] == []
        if "group" in parameters:
            assert ours(connection, name, group="no such group")[1] == []
