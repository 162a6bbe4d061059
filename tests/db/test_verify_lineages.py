"""`db verify --sql` on databases of other generators: the script runs to its end, and loses no row."""

import re

import pytest

from iacalls_cli.operations.db.catalog import expected_catalog
from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.verify import verify_database
from tests.db.test_verify import problems, run_script
from tests.support import lineages
from tests.support.servers import OWNER

TABLES = sorted(key.relation for key in expected_catalog() if key.kind == "table")


@pytest.fixture
def owner(server, empty_database):
    """A writing session on an empty database."""
    with server.connect(empty_database, OWNER) as connection:
        connection.execute("SET search_path = public, pg_temp; SET TimeZone = 'UTC'")
        yield connection


def count(connection, tables):
    return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def mend(connection):
    """Run the script, and again what is left of it; return the last script and the problems that remain."""
    run_script(connection, repair_script(verify_database(connection).differences))
    again = repair_script(verify_database(connection).differences)
    run_script(connection, again)
    return again, {item.object: str(item.finding) for item in problems(connection)}


def assert_nothing_but_decisions(script, left):
    """What is left stands in the script as comments alone."""
    statements = [
        line for line in script.splitlines() if line and not line.startswith(("--", "SET ", "BEGIN", "COMMIT"))
    ]
    assert statements == [], statements
    for what in left:
        assert f"-- {what}: " in script


def test_lineage_a_names_duplicates_before_it_tries(owner):
    owner.execute(lineages.LINEAGE_A)
    before = count(owner, ("users", "clients", "groups", "client_groups", "uploaded_files", "activity_logs"))
    script, left = mend(owner)
    assert_nothing_but_decisions(script, left)
    assert "(SELECT name, count(*) FROM public.groups GROUP BY name HAVING count(*) > 1). Then:" in script
    assert count(owner, before) == before
    assert left == {
        "check users_role_check": left["check users_role_check"],
        "column client_groups.client_id": "allows NULL; 1 rows have NULL",
        "unique client_groups_client_id_group_id_key": "is missing; 1 values of (client_id, group_id) occur more than once",
        "unique groups_name_key": "is missing; 1 values of (name) occur more than once",
        "unique uploaded_files_file_name_key": "is missing; 1 values of (file_name) occur more than once",
    }
    assert left["check users_role_check"].endswith("; 1 rows break it")
    assert owner.execute("SELECT created_at::text FROM users WHERE id = 1").fetchone() == ("2025-07-01 17:00:00",)
    # Once people have decided, the script does the rest.
    owner.execute(
        "UPDATE users SET role = 'user' WHERE role = 'moderator'; DELETE FROM client_groups WHERE id IN (3, 4);"
        "UPDATE groups SET name = 'Julio 2' WHERE id = 2; UPDATE uploaded_files SET file_name = 'f2' WHERE id = 2"
    )
    assert mend(owner)[1] == {}


def test_lineage_b_runs_to_its_end(owner):
    owner.execute(lineages.LINEAGE_B)
    before = count(owner, TABLES)
    first = repair_script(verify_database(owner).differences)
    assert 'DROP CONSTRAINT IF EXISTS "groups_created-by_fkey"' in first
    assert "RENAME COLUMN filename TO file_name" in first
    assert not re.search(r"^CREATE INDEX .*idx_uploaded_files_file_name", first, re.MULTILINE)
    script, left = mend(owner)
    assert_nothing_but_decisions(script, left)
    assert count(owner, TABLES) == before
    assert owner.execute('SELECT "created-by" FROM groups WHERE id = 1').fetchone() == ("3",)
    assert left["column uploaded_files.file_name"] == "is missing, and may be filename under another name"
    assert "column uploaded_files.filename" not in left or "NULL" in left["column uploaded_files.filename"]


def test_lineage_d_gets_its_triggers_and_views(connection):
    connection.execute(lineages.LINEAGE_D)
    assert mend(connection)[1] == {}
    assert count(connection, ("clients", "agents")) == {"clients": 2, "agents": 0}


def test_lineage_e_gets_its_keys_and_ids(connection):
    connection.execute(lineages.copied(TABLES))
    script, left = mend(connection)
    assert_nothing_but_decisions(script, left)
    assert left == {
        "check clients_status_check": "is missing; 7 rows break it",
        "unique groups_name_key": "is missing; 1 values of (name) occur more than once",
    }
    assert connection.execute("INSERT INTO clients (name) VALUES ('y') RETURNING id").fetchone() == (10,)
    assert connection.execute("INSERT INTO groups (name) VALUES ('y') RETURNING id").fetchone() == (3,)
