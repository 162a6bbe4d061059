"""Counting rows where row security, indexes or privileges stand in the way of a plain count."""

import psycopg
import pytest

from iacalls_cli.database.connection import REPORTING, apply_settings
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.row_count import ROW_SECURITY, RowCount, count_rows, count_tree
from tests.support.refusals import refused
from tests.support.servers import OWNER, READER

# A function that the planner inlines. PostgreSQL 17 and newer builds indexes with a safe path, so
# it finds its names by search_path only after the index is there.
KEY = "CREATE OR REPLACE FUNCTION public.key(text) RETURNS text LANGUAGE sql IMMUTABLE AS {}"
GOOD_KEY = KEY.format("'SELECT $1'")
OWN_NAMES = f"""
CREATE FUNCTION public.fold(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
{KEY.format("'SELECT fold($1)'")};
"""


@pytest.fixture
def session(server, empty_database):
    """The owner's session, as iacalls has it."""
    with server.connect(empty_database, OWNER) as opened:
        apply_settings(opened, read_only=False, limits=REPORTING)
        yield opened


@pytest.fixture
def owner(server, empty_database):
    """A session of the owner, as an application has it."""
    with server.connect(empty_database, OWNER) as opened:
        yield opened


def setting(connection, name):
    return connection.execute("SELECT pg_catalog.current_setting(%s)", [name]).fetchone()[0]


INDEXES = {
    "function": (OWN_NAMES, "(key(v))"),
    "predicate": (OWN_NAMES, "(id) WHERE key(v) <> 'x'"),
    "type": ("CREATE DOMAIN public.land AS text;" + KEY.format("'SELECT $1::land::text'"), "(key(v))"),
    "operator": (
        "CREATE FUNCTION public.joined(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';"
        "CREATE OPERATOR public.<+> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.joined);"
        + KEY.format("$$SELECT $1 <+> 'x'$$"),
        "(key(v))",
    ),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_whose_function_finds_its_names_by_search_path(session, owner, kind):
    functions, index = INDEXES[kind]
    owner.execute(GOOD_KEY)
    owner.execute("CREATE TABLE t (id int, v text)")
    owner.execute("INSERT INTO t SELECT g, g::text FROM generate_series(1, 1234) AS g")
    owner.execute(f"CREATE INDEX ON t {index}")
    owner.execute(functions)
    with pytest.raises(DatabaseError, match="does not exist"):
        session.execute("SELECT count(*) FROM public.t")
    assert count_rows(session, "public", "t") == RowCount(1234)


@pytest.mark.parametrize(
    ("columns", "index"),
    [
        ("g text GENERATED ALWAYS AS ('x') STORED", "(key(g))"),
        ("v text, g int GENERATED ALWAYS AS (1) STORED", "(key(v))"),
        ('"a ""b"", ñ" text, dropped int', '(key("a ""b"", ñ"))'),
        ("v varchar, j jsonb, b bytea", "(key(v::text))"),
    ],
)
def test_columns_that_copy_cannot_name(session, owner, columns, index):
    owner.execute(GOOD_KEY)
    owner.execute(f'CREATE TABLE "T ñ" ({columns})')
    owner.execute('ALTER TABLE "T ñ" DROP COLUMN IF EXISTS dropped')
    for _ in range(3):
        owner.execute('INSERT INTO "T ñ" DEFAULT VALUES')
    owner.execute(f'CREATE INDEX ON "T ñ" {index}')
    owner.execute(OWN_NAMES)
    assert count_rows(session, "public", "T ñ") == RowCount(3)


def test_a_table_without_columns_is_copied_whole(session, owner):
    """An index needs a column, so that only a policy of the planner could send such a table to COPY."""
    from iacalls_cli.operations.db.row_count import copy_count

    owner.execute("CREATE TABLE nothing ()")
    owner.execute("INSERT INTO nothing DEFAULT VALUES")
    owner.execute("INSERT INTO nothing DEFAULT VALUES")
    assert count_rows(session, "public", "nothing") == RowCount(2)
    assert copy_count(session, "public", "nothing") == 2


def test_row_security_gives_no_number_instead_of_a_wrong_one(session, owner):
    owner.execute("CREATE TABLE t (id int, who text)")
    owner.execute(f"INSERT INTO t VALUES (1, '{OWNER}'), (2, 'x')")
    owner.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    assert count_rows(session, "public", "t") == RowCount(2)
    owner.execute("ALTER TABLE t FORCE ROW LEVEL SECURITY")
    owner.execute("CREATE POLICY p ON t USING (who = current_user)")
    assert count_rows(session, "public", "t") == RowCount(None, ROW_SECURITY)
    assert setting(session, "row_security") == "on"


def test_row_security_and_such_an_index(session, owner, server, empty_database):
    owner.execute(GOOD_KEY)
    owner.execute("CREATE TABLE t (v text); INSERT INTO t VALUES ('a'); CREATE INDEX ON t (key(v))")
    owner.execute(OWN_NAMES)
    owner.execute(f"GRANT SELECT ON t TO {READER}; ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    assert count_rows(session, "public", "t") == RowCount(1)
    with server.connect(empty_database, READER) as reader:
        assert count_rows(reader, "public", "t") == RowCount(None, ROW_SECURITY)


def test_a_missing_privilege_is_the_reason(owner, server, empty_database):
    owner.execute("CREATE TABLE t (id int, secret text)")
    with server.connect(empty_database, READER) as reader:
        assert count_rows(reader, "public", "t") == RowCount(None, "permission denied for table t")
        owner.execute(f"GRANT SELECT (id) ON t TO {READER}")
        assert count_rows(reader, "public", "t") == RowCount(0)
        assert "does not exist" in count_rows(reader, "public", "nothing").reason


def test_in_a_transaction_its_snapshot_counts_and_nothing_stays(session, owner):
    owner.execute(GOOD_KEY)
    owner.execute("CREATE TABLE plain (v text); CREATE TABLE t (v text); CREATE INDEX ON t (key(v))")
    owner.execute(OWN_NAMES)
    owner.execute("INSERT INTO t VALUES ('a'); INSERT INTO plain VALUES ('a')")
    with session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT pg_catalog.set_config('search_path', 'public', true)")
        assert count_rows(session, "public", "t") == RowCount(1)
        owner.execute("INSERT INTO t VALUES ('b'); INSERT INTO plain VALUES ('b')")
        assert count_rows(session, "public", "t") == RowCount(1)
        assert count_rows(session, "public", "plain") == RowCount(1)
        assert setting(session, "search_path") == "public"
        assert setting(session, "row_security") == "on"
        held = session.execute("SELECT count(*) FROM pg_locks WHERE relation IN ('t'::regclass, 'plain'::regclass)")
        assert held.fetchone() == (0,)
    assert count_rows(session, "public", "t") == RowCount(2)


def test_a_lock_is_an_error_and_no_count(session, owner):
    owner.execute("CREATE TABLE t (id int)")
    session.execute("SET lock_timeout = '50ms'")
    with owner.transaction():
        owner.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with refused(psycopg.errors.LockNotAvailable):
            count_rows(session, "public", "t")
    assert count_rows(session, "public", "t") == RowCount(0)


def test_text_that_is_not_valid_in_utf8_counts_too(server, session, owner):
    name = "ascii_counted"
    with server.connect("postgres") as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with server.connect(name) as ascii_session:
            ascii_session.execute(GOOD_KEY)
            ascii_session.execute("SET client_encoding = 'SQL_ASCII'")
            ascii_session.execute(b"CREATE TABLE t (v text); INSERT INTO t VALUES (E'caf\\xe9')")
            ascii_session.execute("CREATE INDEX ON t (key(v))")
            ascii_session.execute(OWN_NAMES)
            ascii_session.execute("SET client_encoding = 'UTF8'")
            apply_settings(ascii_session, read_only=True, limits=REPORTING)
            assert count_rows(ascii_session, "public", "t") == RowCount(1)
    finally:
        server.drop_database(name)


def test_a_tree_is_the_sum_of_its_tables(session, owner):
    owner.execute(GOOD_KEY)
    owner.execute("CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id)")
    owner.execute("CREATE TABLE part1 PARTITION OF parts FOR VALUES FROM (0) TO (9)")
    owner.execute("CREATE TABLE part2 PARTITION OF parts DEFAULT PARTITION BY RANGE (id)")
    owner.execute("CREATE TABLE part3 PARTITION OF part2 DEFAULT")
    owner.execute("INSERT INTO parts VALUES (1, 'a'), (2, 'b'), (99, 'c')")
    owner.execute("CREATE INDEX ON parts (key(v))")
    owner.execute(OWN_NAMES)
    owner.execute("CREATE TABLE father (v text); CREATE TABLE son () INHERITS (father)")
    owner.execute("INSERT INTO father VALUES ('a'); INSERT INTO son VALUES ('b')")
    assert count_tree(session, "public", "parts") == RowCount(3)
    assert count_tree(session, "public", "father") == RowCount(2)
    assert count_rows(session, "public", "father") == RowCount(1)
    assert count_tree(session, "public", "part1") == RowCount(2)
