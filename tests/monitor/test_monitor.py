"""`iacalls monitor`: the documented monitoring queries, row for row."""

import contextlib
import time

import pytest

from tests.report.test_documented import documented
from tests.support.servers import OWNER, READER


def test_sizes_are_the_documented_ones(server, filled_database, use, iacalls):
    use(filled_database)
    outcome = iacalls("monitor", "sizes", "-o", "json")
    assert outcome.code == 0
    with server.connect(filled_database, OWNER) as connection:
        names, rows = documented(connection, "sizes")
        ours = outcome.json["data"]
        sizes = {row["tablename"]: row["size"] for row in ours}
        pretty = {
            table: connection.execute("SELECT pg_size_pretty(%s::bigint)", [size]).fetchone()[0]
            for table, size in sizes.items()
        }
    assert names == ["tablename", "size"]
    assert pretty == dict(rows)
    assert all(row["heap"] + row["indexes"] <= row["size"] for row in ours)
    assert [row["size"] for row in ours] == sorted((row["size"] for row in ours), reverse=True)
    assert sum(row["share_percent"] for row in ours) == pytest.approx(100, abs=1)


def test_indexes_are_the_documented_ones(server, filled_database, use, iacalls):
    use(filled_database, READER)
    ours = iacalls("monitor", "indexes", "-o", "json").json["data"]
    with server.connect(filled_database, OWNER) as connection:
        names, rows = documented(connection, "indexes")
    assert [tuple(row[name] for name in names) for row in ours] == rows
    assert len(rows) == 43 + 15
    only = iacalls("monitor", "indexes", "--table", "users", "-o", "json").json["data"]
    assert {row["tablename"] for row in only} == {"users"}


def test_connections_are_the_documented_ones(server, filled_database, use, iacalls):
    use(filled_database)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            session = stack.enter_context(server.connect(filled_database, OWNER))
            session.execute("SELECT 'ñ'")
        idle = stack.enter_context(server.connect(filled_database, OWNER))
        idle.execute("BEGIN")
        idle.execute("SELECT 1")
        ours = iacalls("monitor", "connections", "-o", "json").json["data"]
        with server.connect("postgres") as admin:
            text = (documented_text("connections")).replace("iacalls_db", filled_database)
            cursor = admin.execute(text)
            names = [column.name for column in cursor.description]
            pids = {row[0] for row in cursor}
        assert set(names) <= set(ours[0])
        itself = {row["pid"] for row in ours if row["application_name"] == "iacalls/monitor connections"}
        assert {row["pid"] for row in ours} - itself == pids
        assert {row["state"] for row in ours} == {"idle", "idle in transaction", "active"}
        waiting = iacalls("monitor", "connections", "--state", "idle in transaction", "-o", "json").json["data"]
        assert [row["pid"] for row in waiting] == [idle.info.backend_pid]
        assert waiting[0]["query"] == "SELECT 1"
        assert waiting[0]["age"]
        idle.execute("ROLLBACK")


def documented_text(name):
    from tests.report.test_documented import FOLDER

    return (FOLDER / f"{name}.sql").read_text()


def test_a_table_whose_name_needs_quotes(connection, database, use, iacalls):
    """The documented query fails on such a name."""
    connection.execute('CREATE TABLE "Año Nuevo" (id int PRIMARY KEY)')
    use(database)
    assert "Año Nuevo" in iacalls("monitor", "sizes").out
    assert (
        iacalls("monitor", "indexes", "--table", "Año Nuevo", "-o", "json").json["data"][0]["indexname"]
        == "Año Nuevo_pkey"
    )


def test_monitoring_waits_for_no_lock(server, database, use, iacalls):
    use(database)
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        outcome = iacalls("monitor", "sizes")
        assert time.monotonic() - began < 5
        assert outcome.code == 1
        assert "lock timeout" in outcome.error


def test_monitoring_is_named_and_limited(server, database, use, iacalls):
    use(database)
    row = next(row for row in iacalls("monitor", "connections", "-o", "json").json["data"] if row["state"] == "active")
    assert row["application_name"] == "iacalls/monitor connections"
    assert "statement_timeout 5s, lock_timeout 50ms" in iacalls("monitor", "sizes", "-v").err


def test_query_texts_with_controls_stay_harmless(server, database, use, iacalls):
    use(database)
    with server.connect(database, OWNER) as session:
        session.execute("SELECT '\x1b[31m', 'a\nb'")
        out = iacalls("monitor", "connections").out
        assert "\x1b" not in out
        assert "\\x1b[31m" in out


@pytest.fixture
def stored(server, connection, database, use):
    """A materialized view, a partitioned table on two levels, and a schema beside public."""
    connection.execute("CREATE TABLE plain AS SELECT g, md5(g::text) FROM generate_series(1, 3000) AS g")
    connection.execute("CREATE MATERIALIZED VIEW mv AS SELECT * FROM plain")
    connection.execute("CREATE UNIQUE INDEX ON mv (g)")
    connection.execute("CREATE TABLE days (d int, t text) PARTITION BY RANGE (d)")
    connection.execute("CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM (0) TO (10)")
    connection.execute("CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM (10) TO (30) PARTITION BY LIST (d)")
    connection.execute("CREATE TABLE days_2_a PARTITION OF days_2 DEFAULT")
    connection.execute("CREATE INDEX ON days (d)")
    connection.execute("INSERT INTO days SELECT g % 30, md5(g::text) FROM generate_series(1, 3000) AS g")
    connection.execute("ANALYZE")
    use(database)
    return connection


def test_sizes_show_materialized_views_and_sums_of_partitions(stored, iacalls):
    outcome = iacalls("monitor", "sizes", "-o", "json")
    rows = {row["tablename"]: row for row in outcome.json["data"]}
    assert rows["mv"]["kind"] == "materialized view"
    assert rows["mv"]["indexes"] > 0
    assert rows["mv"]["estimated_rows"] == 3000
    assert rows["days"]["kind"] == rows["days_2"]["kind"] == "partitioned table"
    for key in ("size", "heap", "indexes", "estimated_rows"):
        assert rows["days_2"][key] == rows["days_2_a"][key] > 0
        assert rows["days"][key] == rows["days_1"][key] + rows["days_2_a"][key]
    leaves = [row["share_percent"] for row in rows.values() if row["kind"] != "partitioned table"]
    assert sum(leaves) == pytest.approx(100, abs=2)
    assert "other schemas" not in outcome.err


def test_sizes_say_that_only_public_is_shown(stored, server, database, iacalls):
    with server.connect(database) as admin:
        admin.execute("CREATE SCHEMA apart; CREATE TABLE apart.big AS SELECT * FROM public.plain")
    outcome = iacalls("monitor", "sizes", "-o", "json")
    assert "only schema public is shown; other schemas have 1 table (" in outcome.err
    assert "big" not in outcome.out


def test_indexes_that_are_not_valid_are_seen(stored, server, database, iacalls):
    assert "not valid" not in iacalls("monitor", "indexes").err
    with server.connect(database) as admin:
        admin.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.mv_g_idx'::regclass")
        stored.execute("CREATE INDEX half ON ONLY days (t)")
    outcome = iacalls("monitor", "indexes", "-o", "json")
    rows = {row["indexname"]: row["is_valid"] for row in outcome.json["data"]}
    assert {name for name, is_valid in rows.items() if not is_valid} == {"mv_g_idx", "half"}
    assert "2 indexes are not valid, no query uses them: half, mv_g_idx" in outcome.err
    assert "1 index is not valid" in iacalls("monitor", "indexes", "--table", "mv").err
    assert "not valid" not in iacalls("monitor", "indexes", "--table", "users").err
    assert "is_valid" in iacalls("monitor", "indexes", "--table", "mv").out
