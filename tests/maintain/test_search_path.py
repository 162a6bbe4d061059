"""Maintenance where the application's own functions find their names by search_path, and where others planted some."""

import pytest

from tests.support.cleanups import archived, by_name, everything, rows_of
from tests.support.servers import OWNER, SUPERUSER

RULE = """[maintain.rules.r]
table = "{table}"
age_column = "created_at"
age = "30d"
"""


@pytest.fixture
def owner(server, database, use):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    with server.connect(database, OWNER) as connection:
        yield connection


@pytest.fixture
def rule(configure):
    """Configure a rule for a table."""
    return lambda table: configure(RULE.format(table=table))


AUDITED = """
CREATE TABLE audit_log (what text);
CREATE TABLE events (id serial PRIMARY KEY, created_at timestamp, name text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO audit_log VALUES (tg_op || ' ' || tg_when); RETURN coalesce(NEW, OLD); END$$;
INSERT INTO events (created_at) VALUES ('2020-01-01'), (now());
"""


@pytest.mark.parametrize(
    "trigger",
    [
        "CREATE TRIGGER t AFTER DELETE OR INSERT ON events FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE TRIGGER t BEFORE DELETE OR INSERT ON events FOR EACH ROW EXECUTE FUNCTION audit()",
        "CREATE TRIGGER t AFTER DELETE OR INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION audit()",
        "CREATE CONSTRAINT TRIGGER t AFTER DELETE OR INSERT ON events DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION audit()",
    ],
)
def test_a_trigger_that_names_tables_without_schema(owner, cleanup, undo, rule, trigger):
    owner.execute(AUDITED)
    before = rows_of(owner, "events")
    owner.execute(trigger)
    rule("events")
    done = cleanup("--only", "r")
    assert done.code == 0, done.err
    assert done.json["data"][0]["deleted"] == 1
    assert any("DELETE" in row for row in rows_of(owner, "audit_log"))
    back = undo("newest")
    assert back.code == 0, back.err
    assert rows_of(owner, "events") == before
    assert any("INSERT" in row for row in rows_of(owner, "audit_log"))


def test_the_path_may_be_of_the_database_or_of_the_role(server, database, owner, cleanup, undo, rule):
    owner.execute("CREATE SCHEMA app; SET search_path = app, pg_catalog;" + AUDITED)
    owner.execute("CREATE TRIGGER t AFTER DELETE OR INSERT ON events FOR EACH ROW EXECUTE FUNCTION audit()")
    rule("app.events")
    assert cleanup("--only", "r").code == 1
    with server.connect(database) as superuser:
        superuser.execute(f"ALTER ROLE {OWNER} IN DATABASE {database} SET search_path = app, pg_catalog")
    assert cleanup("--only", "r").json["data"][0]["deleted"] == 1
    assert undo("newest").code == 0
    assert rows_of(owner, "audit_log", "app") == ['("DELETE AFTER")', '("INSERT AFTER")']


def test_the_trigger_of_a_child_that_goes_or_loses_its_reference(owner, cleanup, undo, rule):
    owner.execute(AUDITED)
    owner.execute(
        "CREATE TABLE part (id int PRIMARY KEY, event int REFERENCES events ON DELETE CASCADE);"
        "CREATE TABLE note (id int PRIMARY KEY, event int REFERENCES events ON DELETE SET NULL);"
        "INSERT INTO part VALUES (1, 1), (2, 2); INSERT INTO note VALUES (1, 1), (2, 2);"
        "CREATE TRIGGER t AFTER DELETE OR INSERT ON part FOR EACH ROW EXECUTE FUNCTION audit();"
        "CREATE TRIGGER t AFTER UPDATE ON note FOR EACH ROW EXECUTE FUNCTION audit();"
    )
    before = {name: rows_of(owner, name) for name in ("events", "part", "note")}
    rule("events")
    row = cleanup("--only", "r").json["data"][0]
    assert (row["deleted"], row["cascaded"], row["nulled"]) == (1, 1, 1)
    assert rows_of(owner, "audit_log") == ['("DELETE AFTER")', '("UPDATE AFTER")']
    assert undo("newest").code == 0
    assert {name: rows_of(owner, name) for name in before} == before


# An SQL function that the planner puts into the statement, and so reads with the session's path. PostgreSQL 17 builds
# no index with it, and keeps one that there is.
PLACES = """
CREATE TABLE factor (n float8); INSERT INTO factor VALUES (2);
CREATE DOMAIN metres AS float8 CHECK (VALUE >= 0);
CREATE FUNCTION twice(float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT ($1 * 2)::public.metres';
CREATE FUNCTION is_known(float8) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
    $$BEGIN RETURN $1 < (SELECT n FROM factor) * 100; END$$;
CREATE TABLE places (id serial PRIMARY KEY, created_at timestamp, lat float8);
INSERT INTO places (created_at, lat) SELECT '2020-01-01', n FROM generate_series(1, 50) AS n;
INSERT INTO places (created_at, lat) VALUES (now(), 51);
"""
FINDS_BY_PATH = (
    "CREATE OR REPLACE FUNCTION twice(float8) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT ($1 * 2)::metres'"
)


@pytest.mark.parametrize(
    "code",
    [
        "CREATE INDEX ON places (twice(lat))",
        "CREATE UNIQUE INDEX ON places (twice(lat), id)",
        "CREATE INDEX ON places (id) WHERE twice(lat) > 3",
        "ALTER TABLE places ADD CHECK (is_known(lat))",
        "ALTER TABLE places ADD d float8 GENERATED ALWAYS AS (twice(lat)) STORED",
        "ALTER TABLE places ADD m metres GENERATED ALWAYS AS (twice(lat)) STORED",
    ],
)
def test_functions_of_indexes_checks_and_generated_columns(owner, cleanup, undo, rule, code):
    owner.execute(PLACES)
    owner.execute(code)
    owner.execute(FINDS_BY_PATH)
    before = everything(owner)
    rule("places")
    plan = cleanup("--only", "r", "--dry-run")
    assert plan.code == 0, plan.err
    assert plan.json["data"][0]["rows"] == 50
    done = cleanup("--only", "r")
    assert done.code == 0, done.err
    assert done.json["data"][0]["deleted"] == 50
    assert undo("newest", "--dry-run").json["data"][0]["restored"] == 50
    back = undo("newest")
    assert back.code == 0, back.err
    assert everything(owner) == before


def test_a_filter_on_a_table_with_such_an_index(owner, iacalls, configure, tmp_path):
    owner.execute(PLACES + "CREATE INDEX ON places (twice(lat));" + FINDS_BY_PATH)
    configure(RULE.format(table="places") + 'filter = "lat < 10"\n')
    outcome = iacalls("maintain", "cleanup", "--only", "r", "--directory", str(tmp_path / "a"), "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"][0]["deleted"] == 9


@pytest.mark.parametrize(
    "command", ["vacuum places", "analyze places", "reindex places", "vacuum --full --confirm {} places"]
)
def test_vacuum_analyze_and_reindex_of_such_an_index(server, database, owner, iacalls, command):
    """From PostgreSQL 17 on the server has a path of its own for them: then it is said what to do."""
    owner.execute(PLACES + "CREATE INDEX por_lat ON places (twice(lat));" + FINDS_BY_PATH)
    outcome = iacalls("maintain", *command.format(database).split())
    if server.major < 17:
        assert outcome.code == 0, outcome.err
        return
    assert outcome.code == 1
    assert 'type "metres" does not exist' in outcome.error
    assert (
        "the function public.twice(double precision) of index por_lat finds its names by search_path" in outcome.error
    )
    assert "ALTER FUNCTION public.twice(double precision) SET search_path = public, pg_temp" in outcome.error
    owner.execute("ALTER FUNCTION public.twice(double precision) SET search_path = public, pg_temp")
    outcome = iacalls("maintain", *command.format(database).split())
    assert outcome.code == 0, outcome.err


# Names that others planted ----------------------------------------------------------------------------

KINDS = ("tid, tid", "oid, oid", "text, text", "varchar, varchar", "varchar, text", "int4, int4", "int8, int8", "int8, int4",
         "int4, int8", "timestamp, timestamp", "bool, bool", "name, name", "record, record", "anyelement, anyelement")  # fmt: skip
FUNCTIONS = ("count(bigint)", "count(oid)", "sum(int)", "sum(bigint)", "min(timestamp)", "max(timestamp)", "min(tid)",
             "pg_column_size(int)", "pg_column_size(text)", "pg_column_size(varchar)", "pg_column_size(timestamp)",
             "unnest(tid[])", "row_number()", "concat_ws(text, int)", "record_eq(record, record)", "set_config(text, text, boolean)",
             "array_agg(text)", "pg_get_expr(pg_node_tree, oid)", "format(text, name, name)")  # fmt: skip


def plant(connection):
    """Operators and functions in public that fit our statements better than PostgreSQL's own, or come before them."""
    number = 0
    for operator in ("=", "<>", "<", "<=", ">", ">=", "+", "||"):
        for types in KINDS:
            left, right = types.split(", ")
            number += 1
            result = "boolean" if operator not in "+||" else "text"
            connection.execute(
                f"CREATE FUNCTION public.trap_{number}(a {left}, b {right}) RETURNS {result} LANGUAGE plpgsql AS"
                " $$BEGIN RAISE EXCEPTION 'trapped'; END$$;"
                f"CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.trap_{number})"
            )
    for function in FUNCTIONS:
        connection.execute(
            f"CREATE FUNCTION public.{function} RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trapped'; END$$"
        )
    for name in ("text", "oid", "tid", "int8", "date", "timestamptz"):
        connection.execute(f"CREATE DOMAIN public.{name} AS pg_catalog.bool CHECK (false)")


TREE = """
CREATE TABLE a (id int PRIMARY KEY, up int REFERENCES a ON DELETE CASCADE, created_at timestamp, tag varchar(9) UNIQUE);
CREATE TABLE b (id int, n text, a int REFERENCES a ON DELETE CASCADE, PRIMARY KEY (id, n));
CREATE TABLE c (id int PRIMARY KEY, a int DEFAULT 9 REFERENCES a ON DELETE SET DEFAULT, updated_at timestamp DEFAULT now());
CREATE TABLE d (v varchar(5), a int REFERENCES a ON DELETE SET NULL);
CREATE TABLE e (a int REFERENCES a);
INSERT INTO a VALUES (9, NULL, now(), 'nine'), (1, NULL, '2020-01-01', 'one'), (2, 1, now(), 'two'), (3, 3, '2020-01-01', NULL),
                     (4, NULL, '2020-01-01', 'four');
INSERT INTO b VALUES (1, 'x', 1), (2, 'y', 2); INSERT INTO c VALUES (1, 1), (2, 3); INSERT INTO d VALUES ('p', 1), ('r', 9), ('q', 3);
INSERT INTO e VALUES (4);
CREATE TABLE nokey (v varchar(5), created_at date); INSERT INTO nokey VALUES ('a', '2020-01-01'), ('a', '2020-01-01'), ('b', now());
"""


@pytest.mark.parametrize("path", ["public", "public, pg_catalog"])
def test_nothing_that_others_planted_runs(server, database, owner, cleanup, undo, configure, use, path):
    """CVE-2018-1058: with the application's path, our own statements have to name every operator with its schema."""
    owner.execute(TREE)
    configure(RULE.format(table="a") + RULE.replace("rules.r", "rules.n").format(table="nokey"))
    owner.execute(
        "INSERT INTO call_records (phone_number, status, created_at) VALUES ('1', 'failed', '2020-01-01');"
        "INSERT INTO batch_calls (batch_id, status, created_at) VALUES ('x', 'in_progress', '2020-01-01');"
        "INSERT INTO call_records (batch_call_id, phone_number, status, created_at) VALUES (1, '1', 'failed', '2020-01-01')"
    )
    before = everything(owner)
    with server.connect(database) as superuser:
        plant(superuser)
        superuser.execute(f"ALTER DATABASE {database} SET search_path = {path}")
    use(database, SUPERUSER)
    plan = cleanup("--dry-run")
    assert plan.code == 0, plan.err
    assert {name: (rule["rows"], rule["kept"]) for name, rule in by_name(plan.json["data"]).items()} == {
        "whatsapp": (0, 0), "failed-calls": (1, 1), "r": (2, 1), "n": (2, 0),
    }  # fmt: skip
    done = cleanup()
    assert done.code == 0, done.err
    rules = by_name(done.json["data"])
    assert (rules["r"]["deleted"], rules["r"]["cascaded"], rules["r"]["nulled"]) == (2, 3, 4)
    assert undo("newest", "--dry-run").json["data"]
    back = undo("newest")
    assert back.code == 0, back.err
    use(database)
    with server.connect(database) as superuser:
        superuser.execute("SET search_path = pg_catalog")
        assert everything(superuser) == before


@pytest.mark.parametrize(
    ("filter_", "rows"),
    [
        ("tag = 'one'", 1),
        ("tag IN ('one', 'two')", 1),
        ("tag <> 'one' AND id BETWEEN 1 AND 4", 1),
        ("EXISTS (SELECT FROM public.b AS b WHERE b.a = a.id AND b.n LIKE 'x')", 1),
        ("length(tag || 'x') = 5 OR tag IS NULL", 2),
        ("(id, tag) = (1, 'one')", 1),
        ("tag IS DISTINCT FROM 'one' /* ' -- */ -- x", 2),
        ('"a".id + 0 > 1', 2),
    ],
)
def test_a_filter_means_postgresqls_own_operators(server, database, owner, cleanup, configure, use, filter_, rows):
    owner.execute(TREE + "DROP TABLE e")
    configure(RULE.format(table="a") + f"filter = '''{filter_}'''\n")
    with server.connect(database) as superuser:
        plant(superuser)
        superuser.execute(
            "CREATE FUNCTION public.length(varchar) RETURNS pg_catalog.text LANGUAGE sql AS $$SELECT 'trapped'::pg_catalog.text$$"
        )
    use(database, SUPERUSER)
    plan = cleanup("--only", "r", "--dry-run")
    assert plan.code == 0, plan.err
    assert plan.json["data"][0]["rows"] == rows
    assert cleanup("--only", "r").json["data"][0]["deleted"] == rows


def test_a_role_that_may_make_no_temporary_view(server, database, owner, cleanup, configure):
    owner.execute(TREE + "DROP TABLE e")
    configure(RULE.format(table="a") + "filter = \"tag = 'one'\"\n")
    with server.connect(database) as superuser:
        superuser.execute(
            f"ALTER DATABASE {database} OWNER TO CURRENT_USER; REVOKE TEMP ON DATABASE {database} FROM PUBLIC"
        )
    assert cleanup("--only", "r").json["data"][0]["deleted"] == 1


def test_a_default_that_a_lost_reference_has_instead(server, database, owner, cleanup, undo, rule, use):
    owner.execute(TREE + "DROP TABLE e; ALTER TABLE c ALTER a SET DEFAULT 4 + 5")
    rule("a")
    before = everything(owner)
    with server.connect(database) as superuser:
        plant(superuser)
        superuser.execute(f"ALTER DATABASE {database} SET search_path = public, pg_catalog")
    use(database, SUPERUSER)
    assert cleanup("--only", "r").json["data"][0]["nulled"] == 4
    back = undo("newest")
    assert back.code == 0, back.err
    with server.connect(database) as superuser:
        superuser.execute("SET search_path = pg_catalog")
        assert everything(superuser) == before


@pytest.mark.parametrize("has_child", [False, True])
def test_names_in_the_archive_have_their_schema(server, database, owner, cleanup, undo, rule, has_child):
    """A regclass is written by search_path; it comes back whatever the path is by then."""
    owner.execute(
        "CREATE TABLE r (id int PRIMARY KEY, created_at timestamp, t regclass, f regprocedure);"
        "INSERT INTO r VALUES (1, '2020-01-01', 'clients', 'update_updated_at_column()'), (2, '2020-01-01', NULL, NULL)"
    )
    if has_child:
        owner.execute("CREATE TABLE of_r (r int REFERENCES r ON DELETE CASCADE)")
    rule("r")
    before = owner.execute("SELECT id, t::oid, f::oid FROM r ORDER BY 1").fetchall()
    done = cleanup("--only", "r")
    assert done.code == 0, done.err
    found = archived(done.json["run"]["archive"])["public", "r"]
    assert [(row["t"], row["f"]) for row in found] == [
        ("public.clients", "public.update_updated_at_column()"), (None, None),
    ]  # fmt: skip
    with server.connect(database) as superuser:
        superuser.execute(f"ALTER DATABASE {database} SET search_path = pg_catalog")
    back = undo("newest")
    assert back.code == 0, back.err
    assert owner.execute("SELECT id, t::oid, f::oid FROM public.r ORDER BY 1").fetchall() == before


@pytest.mark.parametrize("name", ["r", "g", "e", "c", "gone", "roots", "own", "batch"])
def test_a_table_may_have_the_name_of_anything_in_our_statements(owner, cleanup, configure, name):
    owner.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, created_at timestamp, up int REFERENCES {name} ON DELETE CASCADE);"
        f"INSERT INTO {name} VALUES (1, '2020-01-01', NULL), (2, now(), 1), (3, now(), NULL)"
    )
    configure("".join(RULE.replace("rules.r", f"rules.{rule}").format(table=name) for rule in ("one", "two")))
    assert [row["deleted"] for row in cleanup("--only", "one", "--only", "two").json["data"]] == [1, 0]
    assert len(rows_of(owner, name)) == 1
