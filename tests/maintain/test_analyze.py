"""`iacalls maintain analyze`: the planner's statistics, where many rows changed."""

import pytest

from tests.support.command_line import run_terminal
from tests.support.live_load import environment
from tests.support.servers import OWNER, READER


@pytest.fixture
def analyze(database, use, iacalls):
    """Run `maintain analyze` on the database, as its owner."""
    use(database)
    return lambda *options: iacalls("maintain", "analyze", "-o", "json", *options)


def rows(outcome):
    return {row["table"]: row for row in outcome.json["data"]}


# Before PostgreSQL 15 counts of changed rows come late, and in any order.
@pytest.mark.postgres(">= 15")
def test_only_what_is_stale_is_analyzed(connection, dead, analyze):
    connection.execute("ANALYZE users")
    outcome = analyze()
    assert outcome.code == 0, outcome.err
    done = rows(outcome)
    assert "users" not in done
    assert (done[dead]["state"], done[dead]["rows"]) == ("analyzed", 1000)
    assert done[dead]["changed_rows"] >= 3000
    assert next(iter(done)) == dead  # the most changed first
    again = analyze()
    assert again.json["data"] == []
    assert "the statistics of 9 tables are fresh, --all renews them too" in again.err


def test_all_and_named_ones_are_analyzed_in_any_case(analyze):
    analyze()
    assert len(rows(analyze("--all"))) == 9
    assert list(rows(analyze("users", "public.clients"))) == ["clients", "users"]
    assert "contradict" in analyze("--all", "users").error


@pytest.mark.postgres(">= 15")
def test_a_dry_run_changes_nothing(connection, dead, analyze):
    assert rows(analyze("--dry-run"))[dead]["verdict"] == "analyze"
    assert connection.execute("SELECT count(*) FROM pg_stats WHERE tablename = %s", [dead]).fetchone() == (0,)
    analyze()
    assert rows(analyze("--dry-run"))[dead]["verdict"] == "fresh"


def test_the_planner_knows_afterwards(connection, dead, analyze):
    analyze(dead)
    known = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND tablename = %s AND attname = 'phone_number'"
    assert connection.execute(known, [dead]).fetchone() == (1,)


def test_a_partitioned_table_is_analyzed_with_its_partitions(connection, analyze):
    connection.execute("CREATE TABLE m (id int, k int) PARTITION BY LIST (k)")
    connection.execute("CREATE TABLE m1 PARTITION OF m FOR VALUES IN (1)")
    connection.execute("INSERT INTO m SELECT g, 1 FROM generate_series(1, 100) AS g")
    done = rows(analyze())
    assert "m" in done
    assert "m1" not in done
    stats = connection.execute("SELECT DISTINCT tablename FROM pg_stats WHERE tablename IN ('m', 'm1') ORDER BY 1")
    assert stats.fetchall() == [("m",), ("m1",)]
    assert set(rows(analyze("m1"))) == {"m1"}


def test_a_table_that_does_not_exist_is_named(analyze):
    outcome = analyze("cliens")
    assert outcome.code == 2
    assert "did you mean clients" in outcome.error


def test_a_locked_table_is_told_and_the_others_are_done(server, database, analyze, hasty):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE public.users IN SHARE MODE")
        outcome = analyze()
        assert f"users: locked by session {other.info.backend_pid}" in outcome.error
    assert outcome.code == 1
    states = {name: row["state"] for name, row in rows(outcome).items()}
    assert states.pop("users") == "failed"
    assert set(states.values()) == {"analyzed"}


def test_rights(server, database, use, iacalls, analyze):
    with server.connect(database) as admin:
        admin.execute(f"ALTER DATABASE {database} OWNER TO postgres; ALTER TABLE users OWNER TO postgres")
    outcome = analyze("users", "clients")
    assert outcome.code == 1
    assert {name: row["state"] for name, row in rows(outcome).items()} == {"clients": "analyzed", "users": "skipped"}
    use(database, READER)
    outcome = iacalls("maintain", "analyze")
    assert outcome.code == 1
    assert f"the role {READER} may analyze none of" in outcome.error


def test_at_a_terminal_it_asks(server, database):
    code, screen = run_terminal(
        "maintain", "analyze", "users", answers=[("y/N", "n\n")], env=environment(server, database)
    )
    assert code == 0
    assert "nothing was changed" in screen
    code, screen = run_terminal("maintain", "analyze", "users", "--yes", env=environment(server, database))
    assert code == 0
    assert "analyzed" in screen
