"""A superuser is told of the code of others that a cleanup or an undo would run with their privileges."""

import pytest

from tests.support.servers import OWNER, READER, SUPERUSER

RULE = """[maintain.rules.r]
table = "t"
age_column = "created_at"
age = "30d"
"""
TABLES = """
CREATE FUNCTION code() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN coalesce(NEW, OLD); END$$;
CREATE FUNCTION fits(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN true; END$$;
CREATE TABLE t (id int PRIMARY KEY, created_at timestamp);
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE);
CREATE TABLE note (id int PRIMARY KEY, t int REFERENCES t ON DELETE SET NULL);
INSERT INTO t VALUES (1, '2020-01-01'); INSERT INTO child VALUES (1, 1); INSERT INTO note VALUES (1, 1);
"""


@pytest.fixture
def superuser(server, database):
    with server.connect(database, SUPERUSER) as connection:
        yield connection


@pytest.fixture
def owner(server, database, cleanup, undo, use, configure):
    """A session of the owner; the commands are those of the superuser."""
    use(database, SUPERUSER)
    configure(RULE)
    with server.connect(database, OWNER) as connection:
        connection.execute(TABLES)
        yield connection


def warnings(outcome):
    return [line for line in outcome.err.splitlines() if "with the privileges of" in line]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION code()", "the trigger tr on t"),
        ("CREATE TRIGGER tr BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION code()", "the trigger tr on t"),
        ("CREATE TRIGGER tr AFTER DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION code()", "the trigger tr on t"),
        ("CREATE TRIGGER tr AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION code()", "the trigger tr on child"),
        ("CREATE TRIGGER tr AFTER UPDATE ON note FOR EACH ROW EXECUTE FUNCTION code()", "the trigger tr on note"),
    ],
)
def test_the_plan_warns_of_triggers_of_others(owner, database, use, cleanup, code, what):
    owner.execute(code)
    for options in (("--dry-run",), ()):
        outcome = cleanup("--only", "r", *options)
        assert outcome.code == 0, outcome.err
        (line,) = warnings(outcome)
        assert f"{what} runs the function public.code() of {OWNER} with the privileges of the superuser" in line
        assert f"use the role {OWNER}, which owns the table" in line
    use(database)
    assert warnings(cleanup("--only", "r", "--dry-run")) == []


@pytest.mark.parametrize(
    "code",
    [
        "CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION code()",
        "CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION code(); ALTER TABLE t DISABLE TRIGGER tr",
        "CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION code(); ALTER FUNCTION code() SECURITY DEFINER",
        # The server itself writes that, as the table's owner.
        "CREATE TRIGGER tr BEFORE UPDATE ON note FOR EACH ROW EXECUTE FUNCTION code()",
        "ALTER TABLE t ADD CHECK (fits(id))",
        "CREATE TRIGGER tr AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION code()",
    ],
)
def test_it_does_not_of_what_does_not_run_as_the_superuser(owner, cleanup, code):
    owner.execute(code)
    outcome = cleanup("--only", "r")
    assert (outcome.code, warnings(outcome)) == (0, [])


def test_nor_of_functions_of_a_superuser(owner, superuser, cleanup):
    owner.execute("CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION code()")
    superuser.execute("ALTER FUNCTION code() OWNER TO CURRENT_USER")
    assert warnings(cleanup("--only", "r", "--dry-run")) == []


def test_a_table_of_a_superuser_has_no_better_owner(owner, superuser, cleanup):
    owner.execute("CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION code()")
    superuser.execute(f"ALTER TABLE t OWNER TO CURRENT_USER; ALTER FUNCTION code() OWNER TO {READER}")
    (line,) = warnings(cleanup("--only", "r", "--dry-run"))
    assert f"of {READER} with the privileges" in line
    assert "use a role without superuser rights" in line


def test_the_condition_of_a_trigger_is_code_as_well(owner, superuser, cleanup):
    owner.execute("CREATE TRIGGER tr AFTER DELETE ON t FOR EACH ROW WHEN (fits(OLD.id)) EXECUTE FUNCTION code()")
    superuser.execute("ALTER FUNCTION code() OWNER TO CURRENT_USER")
    (line,) = warnings(cleanup("--only", "r", "--dry-run"))
    assert "the trigger tr on t runs the function public.fits(integer)" in line


def test_a_partition_has_the_triggers_of_its_table(owner, cleanup, configure):
    configure(RULE.replace('"t"', '"p"'))
    owner.execute(
        "CREATE TABLE p (created_at timestamp) PARTITION BY RANGE (created_at); CREATE TABLE p1 PARTITION OF p DEFAULT;"
        "CREATE TRIGGER tr AFTER DELETE ON p FOR EACH ROW EXECUTE FUNCTION code(); INSERT INTO p VALUES ('2020-01-01')"
    )
    assert warnings(cleanup("--only", "r", "--dry-run")) != []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION code()", "the trigger tr on t"),
        ("ALTER TABLE t ADD CONSTRAINT ck CHECK (fits(id))", "the CHECK constraint ck on t"),
        ("CREATE INDEX ix ON t (fits(id))", "the index ix on t"),
        ("CREATE INDEX ix ON t (id) WHERE fits(id)", "the index ix on t"),
        ("ALTER TABLE t ADD g boolean GENERATED ALWAYS AS (fits(id)) STORED", "the expression of the column g on t"),
        (
            "CREATE DOMAIN dom AS int CONSTRAINT dk CHECK (fits(VALUE)); ALTER TABLE t ADD d dom",
            "the CHECK constraint dk on t",
        ),
    ],
)
def test_undo_warns_of_all_that_an_insert_runs(owner, database, use, cleanup, undo, code, what):
    owner.execute(code)
    assert cleanup("--only", "r").code == 0
    for options in (("--dry-run",), ()):
        outcome = undo("newest", *options)
        assert outcome.code == 0, outcome.err
        (line,) = warnings(outcome)
        assert f"{what} runs the function" in line
        assert f"use the role {OWNER}, which owns the table" in line
    use(database)
    assert warnings(undo("newest", "--dry-run")) == []
