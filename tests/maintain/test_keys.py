"""Foreign keys that do not act: a cleanup or an undo would leave rows that refer to nothing, and is refused."""

import pytest

from tests.support.cleanups import everything, rows_of
from tests.support.servers import OWNER, SUPERUSER

RULE = """[maintain.rules.{name}]
table = "{table}"
age_column = "created_at"
age = "30d"
"""
TABLES = """
CREATE TABLE a (id int PRIMARY KEY, created_at timestamp);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE SET NULL);
CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b, a int REFERENCES a ON DELETE CASCADE);
CREATE TABLE lone (id int, created_at timestamp);
INSERT INTO a VALUES (1, '2020-01-01'), (2, now());
INSERT INTO b VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1, 2, 1), (2, 2, 2); INSERT INTO lone VALUES (1, '2020-01-01');
"""


@pytest.fixture
def superuser(server, database):
    with server.connect(database, SUPERUSER) as connection:
        yield connection


@pytest.fixture
def owner(server, database, use, configure):
    """A session of the owner on a database with two rules, which is the target of the commands."""
    use(database)
    configure(RULE.format(name="a", table="a") + RULE.format(name="lone", table="lone"))
    with server.connect(database, OWNER) as connection:
        connection.execute(TABLES)
        yield connection


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("ALTER DATABASE {database} SET session_replication_role = replica", "ALTER DATABASE {database} RESET session_replication_role"),
        ("ALTER ROLE {owner} SET session_replication_role = replica", "ALTER ROLE {owner} RESET session_replication_role"),
        ("ALTER ROLE {owner} IN DATABASE {database} SET session_replication_role = replica", "ALTER ROLE {owner} IN DATABASE {database} RESET"),
    ],
)  # fmt: skip
def test_a_session_without_foreign_keys_is_refused(database, owner, superuser, cleanup, undo, setting, hint):
    done = cleanup("--only", "a")
    assert done.code == 0, done.err
    owner.execute("INSERT INTO a VALUES (7, '2020-01-01'); INSERT INTO b VALUES (7, 7)")
    names = {"database": database, "owner": OWNER}
    superuser.execute(setting.format(**names))
    try:
        before = everything(superuser)
        for outcome in (cleanup("--only", "a"), cleanup("--dry-run"), undo("newest"), undo("newest", "--dry-run")):
            assert (outcome.code, outcome.out) == (1, "")
            assert "foreign keys and triggers do not act in this session" in outcome.error
            assert hint.format(**names) in outcome.error
        assert everything(superuser) == before
    finally:
        superuser.execute(f"ALTER ROLE {OWNER} RESET ALL")


def test_pgoptions_are_named(database, superuser, owner, use, cleanup, monkeypatch):
    use(database, SUPERUSER)
    monkeypatch.setenv("PGOPTIONS", "-c session_replication_role=replica")
    assert "leave it out of PGOPTIONS or the connection's options" in cleanup().error


@pytest.mark.parametrize(
    ("disabling", "key", "table"),
    [
        ("ALTER TABLE a DISABLE TRIGGER ALL", "b_a_fkey", "a"),
        ("ALTER TABLE b DISABLE TRIGGER ALL", "b_a_fkey", "b"),
        ("ALTER TABLE c DISABLE TRIGGER ALL", "c_a_fkey", "c"),
        ('ALTER TABLE a ENABLE REPLICA TRIGGER "{trigger}"', "b_a_fkey", "a"),
    ],
)
def test_disabled_triggers_of_a_key_are_refused_and_named(owner, superuser, cleanup, disabling, key, table):
    (trigger,) = superuser.execute(
        "SELECT t.tgname FROM pg_trigger AS t JOIN pg_constraint AS k ON k.oid = t.tgconstraint"
        " WHERE t.tgrelid = 'a'::regclass AND k.conname = 'b_a_fkey' AND t.tgtype & 8 > 0"
    ).fetchone()
    superuser.execute(disabling.format(trigger=trigger))
    before = everything(superuser)
    for options in (("--only", "a"), ("--only", "a", "--dry-run")):
        outcome = cleanup(*options)
        assert outcome.code == 1
        assert f"rule a: the triggers of the foreign key {key} on {table} are disabled" in outcome.error
        assert f"ALTER TABLE public.{table} ENABLE TRIGGER ALL" in outcome.error
    assert everything(superuser) == before
    superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    assert cleanup("--only", "a").json["data"][0]["deleted"] == 1


def test_the_role_local_fires_what_origin_fires(database, owner, superuser, cleanup):
    superuser.execute(f"ALTER DATABASE {database} SET session_replication_role = local")
    assert cleanup("--only", "a").json["data"][0]["nulled"] == 1


def test_a_key_that_always_acts_is_no_matter(owner, superuser, cleanup):
    for table in ("a", "b", "c"):
        for (name,) in superuser.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass", [table]
        ).fetchall():
            superuser.execute(f'ALTER TABLE {table} ENABLE ALWAYS TRIGGER "{name}"')
    assert cleanup("--only", "a").code == 0


def test_a_key_that_the_rule_does_not_reach_is_no_matter(owner, superuser, cleanup):
    superuser.execute(
        "CREATE TABLE other (id int PRIMARY KEY, c int REFERENCES c); ALTER TABLE other DISABLE TRIGGER ALL"
    )
    superuser.execute("ALTER TABLE users DISABLE TRIGGER ALL")
    assert cleanup("--only", "lone").code == 0


def test_a_table_further_down_the_cascade(owner, superuser, cleanup):
    owner.execute("CREATE TABLE d (id int, c int REFERENCES c ON DELETE CASCADE)")
    superuser.execute("ALTER TABLE d DISABLE TRIGGER ALL")
    assert "the foreign key d_c_fkey on d are disabled" in cleanup("--only", "a").error


def test_a_partition_whose_triggers_are_disabled(owner, superuser, cleanup, configure):
    configure(RULE.format(name="p", table="p"))
    owner.execute(
        "CREATE TABLE p (id int, created_at timestamp, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at);"
        "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2000-01-01') TO ('2025-01-01');"
        "CREATE TABLE p2 PARTITION OF p DEFAULT;"
        "CREATE TABLE q (id int, at timestamp, FOREIGN KEY (id, at) REFERENCES p ON DELETE CASCADE) PARTITION BY LIST (id);"
        "CREATE TABLE q1 PARTITION OF q DEFAULT;"
        "INSERT INTO p VALUES (1, '2020-01-01'); INSERT INTO q VALUES (1, '2020-01-01')"
    )
    for table in ("p1", "q1"):
        superuser.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert f"on {table} are disabled, so it does not act" in cleanup("--only", "p").error
        superuser.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
    assert cleanup("--only", "p").json["data"][0]["cascaded"] == 1


def test_the_other_rules_go_on(owner, superuser, cleanup):
    superuser.execute("ALTER TABLE a DISABLE TRIGGER ALL")
    outcome = cleanup()
    assert outcome.code == 1
    assert "rule a: the triggers of the foreign key" in outcome.error
    assert rows_of(owner, "lone") == []
    assert len(rows_of(owner, "a")) == 2


def test_undo_does_not_write_what_no_key_checks(owner, superuser, cleanup, undo):
    assert cleanup("--only", "a").code == 0
    superuser.execute("ALTER TABLE c DISABLE TRIGGER ALL")
    before = everything(superuser)
    for options in ((), ("--dry-run",)):
        outcome = undo("newest", *options)
        assert outcome.code == 1
        assert "the triggers of the foreign key c_a_fkey on c are disabled" in outcome.error
    assert everything(superuser) == before
    superuser.execute("ALTER TABLE c ENABLE TRIGGER ALL; ALTER TABLE users DISABLE TRIGGER ALL")
    assert undo("newest").code == 0
