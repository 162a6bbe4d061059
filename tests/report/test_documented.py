"""The reports against the documented SQL, on random data: the same rows under the same names."""

import datetime as dt
import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iacalls_cli.database.rows import stream
from iacalls_cli.operations.report import bind_values, find_report
from iacalls_cli.values import make_clock
from tests.support import TESTS
from tests.support.random_rows import fill
from tests.support.servers import OWNER

FOLDER = TESTS / "documented"
# The column the documented query sorts by; rows that tie there have no documented order.
SORTED_BY = {
    "calls": "call_ended_at",
    "whatsapp": "sent_at",
    "top-clients": "total_llamadas",
    "durations": "total_llamadas",
    "client-history": "call_started_at",
    "batch-statistics": "started_at",
}
REPORTS = ("groups", "calls", "whatsapp", "stats", "top-clients", "durations", "group-statistics", "client-history",
           "batch-statistics")  # fmt: skip
NO_LIMIT = 1_000_000
# Words of the option that stand for several states.
ENDED_WELL = ("completed", "finished", "ended")


def busiest_client(connection):
    """A client with a history, or the 1 of the documented query where no client has one."""
    query = (
        "SELECT client_id FROM client_call_history WHERE call_record_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC"
    )
    return (connection.execute(query).fetchone() or (1,))[0]


def documented(connection, name, limit=True):
    """Names and rows of a documented query."""
    text = (FOLDER / f"{name}.sql").read_text()
    if name == "client-history":
        text = text.replace("client_id = 1", f"client_id = {busiest_client(connection)}")
    if not limit:
        text = text.replace("LIMIT 20", "").replace("LIMIT 10", "")
    cursor = connection.execute(text)
    return [column.name for column in cursor.description], cursor.fetchall()


def ours(connection, name, **given_values):
    """Names and rows of a report, the rows as the server's text."""
    query = find_report(name, None)
    if name == "client-history":
        given_values.setdefault("client_id", busiest_client(connection))
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


def has_parameter(name, parameter):
    return parameter in {declared.name for declared in find_report(name, None).parameters}


@pytest.mark.parametrize("name", [name for name in REPORTS if has_parameter(name, "status")])
def test_the_status_filter_gives_the_rows_of_that_status(server, filled_database, name):
    with server.connect(filled_database, OWNER) as connection:
        names, everything = ours(connection, name, limit=NO_LIMIT)
        parameter = next(declared for declared in find_report(name, None).parameters if declared.name == "status")
        column = next(i for i, c in enumerate(names) if "status" in c)
        seen = 0
        for status in parameter.choices:
            _, rows = ours(connection, name, status=status, limit=NO_LIMIT)
            wanted = ENDED_WELL if status == "ended_well" else (status,)
            assert status == "all" or all(row[column] in wanted for row in rows)
            seen += len(rows)
            if parameter.default is None:
                assert sorted(map(repr, rows)) == sorted(repr(row) for row in everything if row[column] == status)
        assert seen


SINCE = "2025-06-05"
# What a filter leaves out, deleted: then the documented query, which has no filter, gives the same.
WITHOUT_OLDER = {
    "calls": "DELETE FROM call_records WHERE call_ended_at < '2025-06-05' OR call_ended_at IS NULL",
    "whatsapp": "DELETE FROM whatsapp_conversations WHERE sent_at < '2025-06-05' OR sent_at IS NULL",
    "top-clients": "DELETE FROM call_records WHERE created_at < '2025-06-05'",
    "durations": "DELETE FROM call_records WHERE created_at < '2025-06-05'",
    "batch-statistics": "DELETE FROM batch_calls WHERE started_at < '2025-06-05' OR started_at IS NULL",
}
OTHER_GROUPS = "(SELECT id FROM batch_calls WHERE group_id IS DISTINCT FROM (SELECT id FROM groups WHERE name = %s))"
WITHOUT_OTHER_GROUPS = {
    "calls": f"DELETE FROM call_records WHERE batch_call_id IS NULL OR batch_call_id IN {OTHER_GROUPS}",
    "durations": f"DELETE FROM batch_calls WHERE id IN {OTHER_GROUPS}",
    "batch-statistics": f"DELETE FROM batch_calls WHERE id IN {OTHER_GROUPS}",
}


def test_every_filter_is_tested():
    assert set(WITHOUT_OLDER) == {name for name in REPORTS if has_parameter(name, "since")}
    assert set(WITHOUT_OTHER_GROUPS) == {name for name in REPORTS if has_parameter(name, "group")}


@pytest.mark.parametrize("name", WITHOUT_OLDER)
def test_since_leaves_out_what_is_older(server, filled_database, name):
    with server.connect(filled_database, OWNER) as connection:
        _, rows = ours(connection, name, since=SINCE, limit=NO_LIMIT)
        _, everything = ours(connection, name, limit=NO_LIMIT)
        connection.execute(WITHOUT_OLDER[name])
        _, wanted = documented(connection, name, limit=False)
    assert sorted(rows, key=repr) == sorted(as_texts(wanted), key=repr)
    assert rows
    assert rows != everything


@pytest.mark.parametrize("name", WITHOUT_OTHER_GROUPS)
def test_group_leaves_out_the_other_groups(server, filled_database, name):
    with server.connect(filled_database, OWNER) as connection:
        busiest = (
            "SELECT g.name FROM groups g JOIN batch_calls b ON b.group_id = g.id JOIN call_records c "
            "ON c.batch_call_id = b.id WHERE c.status = 'completed' GROUP BY g.id ORDER BY count(*) DESC, g.id"
        )
        group = connection.execute(busiest).fetchone()[0]
        _, rows = ours(connection, name, group=group, limit=NO_LIMIT)
        connection.execute(WITHOUT_OTHER_GROUPS[name], [group])
        _, wanted = documented(connection, name, limit=False)
    assert sorted(rows, key=repr) == sorted(as_texts(wanted), key=repr)
    assert rows
