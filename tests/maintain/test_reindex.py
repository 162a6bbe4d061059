"""`iacalls maintain reindex`: concurrently, what needs it, and nothing invalid left behind."""

import threading

import psycopg
import pytest

from iacalls_cli.operations.maintain.indexes import read_indexes
from tests.support.command_line import run_terminal
from tests.support.live_load import environment, wait_until
from tests.support.refusals import refused
from tests.support.servers import OWNER, READER

PHONE = "idx_whatsapp_conversations_phone_number"
INVALID = """SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
              WHERE NOT i.indisvalid ORDER BY 1"""
# Enough for an index above the size below which it does not matter.
BLOATED = """INSERT INTO whatsapp_conversations (phone_number, conversation_summary)
             SELECT '+57' || g, md5(g::text) FROM generate_series(1, 60000) AS g"""


@pytest.fixture
def reindex(database, use, iacalls):
    """Run `maintain reindex` on the database, as its owner."""
    use(database)
    return lambda *options: iacalls("maintain", "reindex", "-o", "json", *options)


@pytest.fixture
def bloated(connection):
    """An index that is mostly empty."""
    connection.execute("ALTER TABLE whatsapp_conversations SET (autovacuum_enabled = off)")
    connection.execute(BLOATED)
    connection.execute("DELETE FROM whatsapp_conversations WHERE id % 10 < 8")
    connection.execute("VACUUM (ANALYZE) whatsapp_conversations")
    return PHONE


@pytest.fixture
def leave(server, database):
    """Leave what a REINDEX CONCURRENTLY leaves that is ended while it waits; returns a function."""

    def fail(index, *, late=False, role=OWNER):
        with server.connect(database) as other, server.connect(database, role) as worker:
            # A snapshot is waited for before the new index is valid, a lock when it is in place already.
            other.execute("BEGIN" if late else "BEGIN ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM public.whatsapp_conversations" if late else "SELECT 1")
            worker.execute("SET lock_timeout = '100ms'")
            with refused(psycopg.errors.LockNotAvailable):
                worker.execute(f"REINDEX INDEX CONCURRENTLY {index}")

    return fail


def rows(outcome):
    return {row["index"]: row for row in outcome.json["data"]}


def invalid(connection):
    return [row[0] for row in connection.execute(INVALID)]


def test_only_what_is_bloated_is_rebuilt(connection, bloated, reindex):
    outcome = reindex("--dry-run")
    verdicts = {row["index"]: row["verdict"] for row in outcome.json["data"]}
    assert verdicts[PHONE] == "rebuild"
    assert set(verdicts.values()) == {"rebuild", "ok"}
    before = connection.execute("SELECT pg_relation_filenode(%s::regclass)", [PHONE]).fetchone()
    outcome = reindex()
    assert outcome.code == 0, outcome.err
    row = rows(outcome)[PHONE]
    assert row["state"] == "rebuilt"
    assert row["size_after"] < row["size_before"] / 3
    assert "users_pkey" not in rows(outcome)
    assert connection.execute("SELECT pg_relation_filenode(%s::regclass)", [PHONE]).fetchone() != before
    assert f"iacalls: {PHONE} (pages): " in outcome.err
    assert reindex().json["data"] == []
    assert invalid(connection) == []


def test_the_most_wasteful_come_first(connection, bloated, reindex):
    rebuilt = [row["index"] for row in reindex("--dry-run").json["data"] if row["verdict"] == "rebuild"]
    wasted = {str(index): index.wasted for index in read_indexes(connection)}
    assert len(rebuilt) > 1
    assert [wasted[name] for name in rebuilt] == sorted((wasted[name] for name in rebuilt), reverse=True)


@pytest.mark.parametrize("name", ["users", "idx_users_email", "PUBLIC.users"])
def test_what_is_named_is_rebuilt_in_any_case(reindex, name):
    done = rows(reindex(name))
    assert done["idx_users_email"]["state"] == "rebuilt"
    assert ("users_pkey" in done) is (name != "idx_users_email")


def test_all_is_what_reindex_database_was_for(connection, reindex):
    outcome = reindex("--all")
    assert outcome.code == 0, outcome.err
    states = {row["index"]: row["state"] for row in outcome.json["data"]}
    assert {name for name in states if not name.startswith("pg_toast.")} == {
        row[0] for row in connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
    }
    assert {state for name, state in states.items() if not name.startswith("pg_toast.")} == {"rebuilt"}


def test_a_superuser_rebuilds_toast_too(database, use, iacalls):
    use(database, "")
    outcome = iacalls("maintain", "reindex", "users", "-o", "json")
    assert outcome.code == 0
    (toast,) = [row for name, row in rows(outcome).items() if name.startswith("pg_toast.")]
    assert (toast["state"], toast["table"]) == ("rebuilt", "users")


@pytest.mark.parametrize("late", [False, True])
def test_leftovers_are_found_and_removed_first(connection, reindex, leave, late):
    """A REINDEX CONCURRENTLY that fails or is killed leaves an invalid index behind."""
    leave(PHONE, late=late)
    (left,) = invalid(connection)
    assert left == f"{PHONE}_cc{'old' if late else 'new'}"
    plan = reindex("--dry-run")
    assert rows(plan)[left]["verdict"] == "remove"
    assert invalid(connection) == [left]
    outcome = reindex()
    assert outcome.code == 0, outcome.err
    assert rows(outcome)[left]["state"] == "removed"
    assert invalid(connection) == []
    assert connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [PHONE]).fetchone()


def test_several_leftovers_of_one_index(connection, reindex, leave):
    leave(PHONE)
    leave(PHONE)
    assert len(invalid(connection)) == 2
    assert len(rows(reindex())) == 2
    assert invalid(connection) == []


def test_a_leftover_with_a_name_as_long_as_can_be(connection, reindex, leave):
    name = "é" * 31
    connection.execute(f'CREATE INDEX "{name}" ON whatsapp_conversations (client_name)')
    leave(f'public."{name}"')
    assert len(invalid(connection)) == 1
    assert {row["state"] for row in reindex().json["data"]} == {"removed"}
    assert invalid(connection) == []


def test_indexes_that_are_only_called_so_are_never_dropped(server, connection, reindex):
    connection.execute("CREATE INDEX idx_users_email_ccnew ON users (email)")  # valid
    connection.execute("CREATE INDEX other_ccold1 ON users (email, username)")
    connection.execute("CREATE INDEX big_ccnew ON users (username)")
    with server.connect(connection.info.dbname) as admin:  # what only a superuser may do to the catalogue
        mark = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY(%s::regclass[])"
        admin.execute(mark, [["public.other_ccold1", "public.big_ccnew"]])
    outcome = reindex("users")
    states = {name: row["state"] for name, row in rows(outcome).items()}
    assert states["idx_users_email_ccnew"] == "rebuilt"
    # No index of that definition and name: it is not the copy of any.
    assert (states["other_ccold1"], states["big_ccnew"]) == ("failed", "failed")
    assert "look at it yourself" in outcome.error
    assert invalid(connection) == ["big_ccnew", "other_ccold1"]


def test_one_that_another_session_is_building_is_left_alone(server, database, connection, reindex, hasty):
    with server.connect(database) as other, server.connect(database, OWNER) as worker:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        worker.execute("SET application_name = 'manual'")
        thread = threading.Thread(target=worker.execute, args=(f"REINDEX INDEX CONCURRENTLY {PHONE}",))
        thread.start()
        wait_until(lambda: invalid(connection))
        outcome = reindex()
        assert outcome.code == 0
        assert f"left alone: {PHONE}_ccnew: another session is building it" in outcome.err
        assert invalid(connection) == [f"{PHONE}_ccnew"]
        outcome = reindex(PHONE)
        assert outcome.code == 1
        assert f"locked by session {worker.info.backend_pid} (manual)" in outcome.error
        other.execute("ROLLBACK")
        thread.join()
    assert invalid(connection) == []


def test_an_old_transaction_is_awaited_and_named_nothing_is_left(server, database, connection, reindex):
    with server.connect(database, OWNER) as other:
        other.execute("SET application_name = 'informe largo'")
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1")
        outcome = reindex(PHONE, "--wait", "1s")
        assert outcome.code == 1
        assert f"waited 1s for session {other.info.backend_pid} (informe largo) since" in outcome.error
    assert invalid(connection) == []


def test_a_reader_that_stays_keeps_only_the_old_one(server, database, connection, reindex, hasty):
    """The new index is in place by then: it is rebuilt, and what stays is said."""
    with server.connect(database, OWNER) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM public.whatsapp_conversations")
        outcome = reindex(PHONE, "--wait", "1s")
        assert outcome.code == 0, outcome.err
        row = rows(outcome)[PHONE]
        assert row["state"] == "rebuilt"
        assert f"{PHONE}_ccold stays (locked by session {other.info.backend_pid}" in row["note"]
        assert invalid(connection) == [f"{PHONE}_ccold"]
        other.execute("ROLLBACK")
    assert rows(reindex())[f"{PHONE}_ccold"]["state"] == "removed"


def test_a_locked_table_is_told_at_once_and_the_others_are_done(server, database, reindex, hasty):
    with server.connect(database, OWNER) as other, other.transaction():
        other.execute("LOCK TABLE public.users IN SHARE ROW EXCLUSIVE MODE")
        outcome = reindex("idx_users_email", "clients_pkey")
        assert f"idx_users_email: locked by session {other.info.backend_pid}" in outcome.error
    assert outcome.code == 1
    assert rows(outcome)["clients_pkey"]["state"] == "rebuilt"


def test_what_cannot_be_rebuilt_concurrently_is_named(connection, reindex):
    connection.execute("CREATE TABLE turnos (id int, EXCLUDE (id WITH =))")
    outcome = reindex("--all")
    assert outcome.code == 0
    assert "left alone: turnos_id_excl: an exclusion constraint's index" in outcome.err
    assert rows(outcome)["turnos_id_excl"]["state"] == "skipped"
    assert reindex("turnos").code == 1


def test_kinds_of_tables(connection, reindex):
    connection.execute("CREATE TABLE m (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (1) TO (9)")
    connection.execute("CREATE MATERIALIZED VIEW v AS SELECT 1 AS a; CREATE INDEX v_a ON v (a)")
    connection.execute("CREATE UNLOGGED TABLE u (id int PRIMARY KEY); CREATE TEMP TABLE t (id int PRIMARY KEY)")
    connection.execute('CREATE SCHEMA "Año 1"; CREATE TABLE "Año 1"."x;y" (id int CONSTRAINT "z""z" PRIMARY KEY)')
    for names, done in ((["m"], {"m1_pkey"}), (["m_pkey"], {"m1_pkey"}), (["v"], {"v_a"}), (["u"], {"u_pkey"}),
                        (["Año 1.x;y"], {'Año 1.z"z'})):  # fmt: skip
        outcome = reindex(*names)
        assert outcome.code == 0, outcome.err
        assert set(rows(outcome)) == done
    assert reindex("t").code == 2
    assert reindex("pg_class").code == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [(["emails"], "there is no table or index emails"), (["idx_users_emai"], "did you mean idx_users_email"),
     (["users", "--all"], "contradict"), (["--wait", "0s"], "between 1s and 24h"), (["--wait", "soon"], "not a duration")],
)  # fmt: skip
def test_bad_input_is_one_line(reindex, options, said):
    outcome = reindex(*options)
    assert outcome.code == 2
    assert said in outcome.error


def test_rights(server, database, use, iacalls, reindex):
    use(database, READER)
    outcome = iacalls("maintain", "reindex", "--all")
    assert outcome.code == 1
    assert f"the role {READER} may reindex none of" in outcome.error
    with server.connect(database) as admin:
        admin.execute("ALTER TABLE users OWNER TO postgres")
    use(database)
    outcome = reindex("users", "clients_pkey")
    assert outcome.code == 1
    assert f"the role {OWNER} may not rebuild it" in outcome.error
    assert rows(outcome)["clients_pkey"]["state"] == "rebuilt"


def test_at_a_terminal(server, database, bloated):
    code, screen = run_terminal("maintain", "reindex", answers=[("y/N", "y\n")], env=environment(server, database))
    assert code == 0
    assert "% of it is empty" not in screen
    assert "rebuilt" in screen
    assert "do not need it" in screen
    assert all(len(line) <= 80 for line in screen.splitlines() if "rebuilt" in line)


def test_a_guess_is_near_what_a_new_index_takes(connection):
    """Of every index in the schema and some more, built on what calls look like."""
    connection.execute("INSERT INTO batch_calls (batch_id) SELECT 'b' || g FROM generate_series(1, 300) AS g")
    connection.execute("""INSERT INTO call_records (batch_call_id, phone_number, recipient_id, conversation_id, status)
        SELECT (SELECT min(id) FROM batch_calls) + g % 300, '+57' || (g * 7919) % 20000, 'r_' || md5(g::text),
               CASE WHEN g % 5 > 1 THEN 'conv_' || md5('c' || g) END, (ARRAY['completed', 'failed', 'busy'])[1 + g % 3]
          FROM generate_series(1, 40000) AS g""")
    connection.execute("CREATE INDEX una ON call_records (lower(recipient_id))")
    connection.execute("CREATE INDEX dos ON call_records (status, phone_number) WITH (fillfactor = 70)")
    connection.execute("CREATE INDEX tres ON call_records ((batch_call_id::numeric))")
    connection.execute("CREATE INDEX hash ON call_records USING hash (phone_number)")
    connection.execute("REINDEX TABLE call_records")
    connection.execute("VACUUM (ANALYZE) call_records")
    indexes = {index.name: index for index in read_indexes(connection) if index.table == "call_records"}
    assert indexes["hash"].guess is None
    large = [index for index in indexes.values() if index.guess is not None and index.size > 200_000]
    assert len(large) == 10
    for index in large:
        assert index.guess == pytest.approx(index.size, rel=0.2), index.name
        assert not index.need


@pytest.fixture
def duplicates(server, database, connection):
    """A unique index that holds no longer: its collation's rules changed under it, as after a change of libc."""

    def make(definition, values):
        connection.execute("CREATE TABLE dupl (id int PRIMARY KEY, v text, w int)")
        connection.execute(f"CREATE UNIQUE INDEX u_key ON dupl {definition}")
        with server.connect(database) as admin:
            admin.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 'public.u_key'::regclass")
            connection.execute(f"INSERT INTO dupl VALUES {values}")
            admin.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 'public.u_key'::regclass")

    return make


@pytest.mark.parametrize(
    ("definition", "columns"),
    [("(v)", "(v)"), ("(v, w)", "(v, w)"), ("(lower(v))", "(lower(v))"), ("(v) WHERE w > 0", "(v)")],
)
def test_duplicates_in_a_unique_index_are_named_by_their_columns(connection, duplicates, reindex, definition, columns):
    duplicates(definition, "(1, 'secreto)=(1', 5), (2, 'secreto)=(1', 5)")
    outcome = reindex("u_key")
    assert outcome.code == 1
    assert f"rows have the same {columns}" in outcome.error
    assert "try again later" not in outcome.error
    assert "secreto" not in outcome.out + outcome.err
    assert f"rows have the same {columns}" in rows(outcome)["u_key"]["note"]
    assert invalid(connection) == []


@pytest.fixture
def prepared(server, database):
    """Leave a prepared transaction with some statement; rolled back afterwards."""
    made = []

    def make(statement):
        with server.connect(database, OWNER) as other:
            other.execute("BEGIN")
            other.execute(statement)
            other.execute(f"PREPARE TRANSACTION 'py {database}'")
        made.append(f"prepared transaction py {database} ({OWNER}) since ")
        return made[-1]

    yield make
    if made:
        with server.connect(database, OWNER) as other:
            other.execute(f"ROLLBACK PREPARED 'py {database}'")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO public.whatsapp_conversations (phone_number) VALUES ('1')",
        "LOCK TABLE public.whatsapp_conversations IN SHARE MODE",
        "LOCK TABLE public.whatsapp_conversations IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_a_prepared_transaction_is_named(database, connection, prepared, reindex, statement, hasty):
    words = prepared(statement)
    outcome = reindex(PHONE, "--wait", "1s")
    assert outcome.code == 1
    assert words in outcome.error
    assert "session 0" not in outcome.err
    assert "has ended meanwhile" not in outcome.err


def test_a_prepared_transaction_is_named_to_a_vacuum(database, connection, prepared, use, iacalls, hasty):
    words = prepared("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
    use(database)
    outcome = iacalls("maintain", "vacuum", "users")
    assert outcome.code == 1
    assert words in outcome.error
