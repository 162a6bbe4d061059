"""Servers without a database `postgres`, and databases that a role may not open."""

import psycopg
import pytest

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintenance_database import open_maintenance
from iacalls_cli.config.target import Target
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.errors import ConnectionFailed
from tests.support.servers import (
    OWNER,
    PASSWORD,
    TestServer,
    local_bundle,
    make_private_server,
    remove_private_server,
    server_kind,
)


@pytest.fixture(scope="module")
def own_server():
    """A server whose only databases are defaultdb, template0 and template1."""
    server, port = make_private_server(local_bundle() if server_kind() == "local" else bundled())
    server.start()
    opened = TestServer({**server.conninfo("template1"), "host": "127.0.0.1", "port": port})
    opened.create_roles()
    with opened.connect("template1") as admin:
        admin.execute(f"CREATE DATABASE defaultdb OWNER {OWNER}")
        admin.execute("DROP DATABASE postgres")
    yield opened
    remove_private_server(server)


@pytest.fixture
def drop(own_server):
    """Names of databases to drop afterwards."""
    names = []
    yield names.append
    with own_server.connect("template1") as admin:
        for name in names:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def opened_database(server, database, **options):
    run = Invocation("test")
    with open_maintenance(run, Target("--dsn", dsn=server.dsn(database)), **options) as session:
        return session.connection.info.dbname


def test_the_order_of_candidates(server, own_server, database):
    assert opened_database(server, database) == "postgres"
    assert opened_database(own_server, "defaultdb") == "defaultdb"
    assert opened_database(own_server, "defaultdb", avoid=("defaultdb",)) == "template1"
    assert opened_database(own_server, "not_there") == "template1"
    with pytest.raises(ConnectionFailed, match="no database to work from") as caught:
        opened_database(own_server, "defaultdb", avoid=("defaultdb", "template1"))
    assert "CREATE DATABASE postgres" in caught.value.hint


def test_init_makes_a_database_without_postgres(own_server, iacalls, drop):
    drop("calls")
    outcome = iacalls("db", "init", "--dsn", own_server.dsn("calls", OWNER), "-o", "json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["data"][0]["database"] == "calls"
    assert iacalls("db", "init", "--dsn", own_server.dsn("calls", OWNER)).code == 1


def test_a_role_that_may_not_open_postgres(server, database, iacalls):
    missing = f"{database}_new"
    with server.connect("postgres") as admin:
        admin.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    try:
        outcome = iacalls("db", "init", "--dsn", server.dsn(missing, OWNER), "-o", "json")
        assert outcome.code == 0, outcome.err
    finally:
        with server.connect("postgres") as admin:
            admin.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
        server.drop_database(missing)


def test_no_hint_leads_in_a_circle(own_server, iacalls):
    with own_server.connect("defaultdb") as admin:
        admin.execute("REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
    try:
        outcome = iacalls("db", "init", "--dsn", own_server.dsn("calls", OWNER))
        assert outcome.code == 3
        assert "iacalls db init creates" not in outcome.error
        assert "no database to work from can be opened, of postgres, template1" in outcome.error
    finally:
        with own_server.connect("defaultdb") as admin:
            admin.execute("GRANT CONNECT ON DATABASE template1 TO PUBLIC")
    missing = iacalls("users", "list", "--dsn", own_server.dsn("postgres", OWNER))
    assert missing.code == 3
    assert "db init" not in missing.error
    assert "iacalls db init creates calls" in iacalls("users", "list", "--dsn", own_server.dsn("calls", OWNER)).error


def test_a_wrong_password_is_tried_once(own_server, iacalls, tmp_path):
    dsn = own_server.dsn("calls", OWNER).replace(PASSWORD, "wrong")
    outcome = iacalls("db", "init", "--dsn", dsn)
    assert outcome.code == 3
    assert "password authentication failed" in outcome.error
    assert "check user and password" in outcome.error


@pytest.mark.parametrize("limited", ["role", "database"])
def test_no_room_for_one_more_session_is_no_wrong_password(server, database, iacalls, use, limited):
    name = OWNER if limited == "role" else database
    use(database)
    with server.connect("postgres") as admin, server.connect(database, OWNER):
        admin.execute(f'ALTER {limited} "{name}" CONNECTION LIMIT 1')
        try:
            outcome = iacalls("users", "list")
        finally:
            admin.execute(f'ALTER {limited} "{name}" CONNECTION LIMIT -1')
    assert outcome.code == 3
    assert "too many connections" in outcome.error
    assert "too many sessions are open" in outcome.error
    assert "password" not in outcome.error


def test_a_full_server_is_no_wrong_password(iacalls):
    server, port = make_private_server(
        local_bundle() if server_kind() == "local" else bundled(),
        max_connections="4",
        superuser_reserved_connections="1",
    )
    server.start()
    try:
        opened = TestServer({**server.conninfo("postgres"), "host": "127.0.0.1", "port": port})
        opened.create_roles()
        sessions = [opened.connect("postgres", OWNER) for _ in range(3)]
        outcome = iacalls("users", "list", "--dsn", opened.dsn("postgres", OWNER))
        for session in sessions:
            session.close()
    finally:
        remove_private_server(server)
    assert outcome.code == 3
    assert "too many sessions are open" in outcome.error


def test_a_role_that_may_not_log_in_and_a_closed_database(server, database, iacalls):
    with server.connect("postgres") as admin:
        admin.execute("CREATE ROLE group_only PASSWORD 'x-secret-1' NOLOGIN")
        admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS off")
        try:
            dsn = psycopg.conninfo.make_conninfo(server.dsn(database), user="group_only", password="x-secret-1")
            assert "ALTER ROLE … LOGIN" in iacalls("users", "list", "--dsn", dsn).error
            closed = iacalls("users", "list", "--dsn", server.dsn(database, OWNER))
            assert "ALLOW_CONNECTIONS" in closed.error
        finally:
            admin.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS on")
            admin.execute("DROP ROLE group_only")
