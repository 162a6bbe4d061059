"""A rule is complete when a last count finds no row that could still go, however much others move rows meanwhile."""

import time

import pytest

from iacalls_cli.operations.maintain.cleanup import delete, ranges
from tests.support.cleanups import by_name, rows_of
from tests.support.servers import OWNER

RULE = """[maintain.rules.r]
table = "{table}"
age_column = "created_at"
age = "30d"
"""
ROWS = 600
TABLE = f"""
CREATE TABLE t (id int PRIMARY KEY, created_at timestamp, n int DEFAULT 0, pad text) WITH (fillfactor = 100, autovacuum_enabled = off);
INSERT INTO t SELECT g, CASE WHEN g % 10 > 0 THEN timestamp '2020-01-01' ELSE now() END, 0, repeat('x', 900)
  FROM generate_series(1, {ROWS}) AS g;
"""
OLD = ROWS * 9 // 10


@pytest.fixture
def owner(server, database, use, configure):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    configure(RULE.format(table="t"))
    with server.connect(database, OWNER) as connection:
        connection.execute(TABLE)
        yield connection


@pytest.fixture
def meanwhile(monkeypatch):
    """Do something after each transaction of a cleanup, which takes one page at a time; counts the transactions."""

    def use(action):
        done = []

        def rest(self, seconds):
            done.append(seconds)
            action(len(done))

        monkeypatch.setattr(ranges, "FIRST_PAGES", 1)
        monkeypatch.setattr(ranges.BatchSize, "took", lambda self, seconds, share=1.0: None)
        monkeypatch.setattr(delete.RuleDeletion, "rest", rest)
        return done

    return use


def clean(cleanup, code=0):
    outcome = cleanup("--only", "r")
    assert outcome.code == code, outcome.err
    return by_name(outcome.json["data"])["r"], outcome


@pytest.mark.parametrize("statement", ["VACUUM FULL t", "CLUSTER t USING t_pkey", "ALTER TABLE t ALTER n TYPE bigint"])
def test_a_table_that_is_rewritten_is_begun_anew(owner, cleanup, undo, meanwhile, statement):
    before = rows_of(owner, "t")
    meanwhile(lambda count: count == 40 and owner.execute(statement))
    row, outcome = clean(cleanup)
    assert (row["deleted"], row["complete"], row["remaining"]) == (OLD, True, 0)
    assert len(rows_of(owner, "t")) == ROWS - OLD
    assert "run it again" not in outcome.err
    assert undo("newest").code == 0
    assert rows_of(owner, "t") == before


def test_rows_that_are_updated_and_so_moved(owner, cleanup, meanwhile):
    """To the table's end, or into the room of rows that went."""

    def update(count):
        if count in (20, 50):
            owner.execute("UPDATE t SET n = n + 1 WHERE id > 300 AND created_at < '2021-01-01'")
            owner.execute("VACUUM t")

    meanwhile(update)
    row, _ = clean(cleanup)
    assert (row["deleted"], row["complete"]) == (OLD, True)
    assert len(rows_of(owner, "t")) == ROWS - OLD


def test_rows_that_others_refer_to_and_that_move(owner, cleanup, meanwhile):
    owner.execute("CREATE TABLE part (t int REFERENCES t ON DELETE CASCADE); INSERT INTO part SELECT id FROM t")
    meanwhile(lambda count: count == 30 and owner.execute("UPDATE t SET n = 1 WHERE created_at < '2021-01-01'"))
    row, _ = clean(cleanup)
    assert (row["deleted"], row["cascaded"], row["complete"]) == (OLD, OLD, True)


def test_old_rows_that_come_meanwhile(owner, cleanup, meanwhile):
    def insert(count):
        if count == 30:
            owner.execute(f"INSERT INTO t SELECT g, '2020-01-01' FROM generate_series({ROWS + 1}, {ROWS + 50}) AS g")

    meanwhile(insert)
    row, _ = clean(cleanup)
    assert (row["deleted"], row["complete"]) == (OLD + 50, True)


def test_it_ends_where_rows_move_for_ever(owner, cleanup, meanwhile):
    """After three times through the table the rest is said, and left to the next run."""
    ahead = []

    def insert(count):
        ahead.append(count)
        owner.execute("INSERT INTO t VALUES (%s, '2020-01-01')", [10_000 + count])

    done = meanwhile(insert)
    began = time.monotonic()
    row, outcome = clean(cleanup)
    assert time.monotonic() - began < 60
    left = len([one for one in rows_of(owner, "t") if "2020-01-01" in one])
    assert left > 0
    assert (row["complete"], row["remaining"]) == (False, left)
    assert f"rule r: {left} old row" in outcome.err
    assert "run it again" in outcome.err
    assert outcome.json["run"]["state"] == "finished"
    assert len(done) < 3 * 200


def test_rows_that_are_locked_have_their_reason(server, database, owner, cleanup):
    with server.connect(database, OWNER) as other:
        other.autocommit = False
        other.execute("SELECT FROM t WHERE id IN (1, 2, 303) FOR UPDATE")
        row, outcome = clean(cleanup)
        other.rollback()
    assert (row["deleted"], row["skipped_locked"], row["remaining"], row["complete"]) == (OLD - 3, 3, 3, True)
    assert "run it again" not in outcome.err
    assert clean(cleanup)[0]["deleted"] == 3


def test_rows_that_stay_for_a_reason_are_not_what_remains(owner, cleanup):
    owner.execute("CREATE TABLE keeper (t int REFERENCES t); INSERT INTO keeper VALUES (1), (2)")
    row, _ = clean(cleanup)
    assert (row["deleted"], row["remaining"], row["complete"]) == (OLD - 2, 0, True)


def test_a_partition_that_is_rewritten(owner, cleanup, configure, meanwhile):
    configure(RULE.format(table="p"))
    owner.execute(
        "CREATE TABLE p (id int, created_at timestamp, pad text) PARTITION BY RANGE (id);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (300);"
        "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (300) TO (1000);"
        "INSERT INTO p SELECT id, created_at, pad FROM t"
    )
    meanwhile(lambda count: count == 60 and owner.execute("VACUUM FULL p2"))
    row, _ = clean(cleanup)
    assert (row["deleted"], row["complete"]) == (OLD, True)


def test_a_run_that_stops_at_its_time_says_so(owner, cleanup, configure, meanwhile, monkeypatch):
    moments = iter([*[0.0] * 8, *[10_000_000.0] * 10_000])
    meanwhile(lambda count: monkeypatch.setattr(delete.time, "monotonic", lambda: next(moments)))
    outcome = cleanup("--only", "r", "--max-duration", "1h")
    row = outcome.json["data"][0]
    assert (row["complete"], outcome.json["run"]["state"]) == (False, "stopped")
    assert "run it again" not in outcome.err


def test_rows_that_undo_could_not_put_back_are_said_before(owner, configure, iacalls):
    """A constraint that is not valid lets old rows live, and takes none back."""
    owner.execute("CREATE TABLE viejo (id int PRIMARY KEY, created_at timestamp, v int)")
    owner.execute("INSERT INTO viejo VALUES (1, '2020-01-01', -1)")
    owner.execute("ALTER TABLE viejo ADD CONSTRAINT pos CHECK (v > 0) NOT VALID")
    configure('[maintain.rules.viejo]\ntable = "viejo"\nage_column = "created_at"\nage = "30d"\n')
    plan = iacalls("maintain", "cleanup", "--only", "viejo", "--dry-run")
    assert plan.code == 0, plan.err
    assert "the constraint pos on viejo is NOT VALID" in plan.err
