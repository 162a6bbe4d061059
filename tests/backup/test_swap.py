"""The names under which replaced and unfinished databases are kept."""

from psycopg import sql

from iacalls_cli.operations.backup.replace import dated_name, kept_databases
from iacalls_cli.operations.db.temporary import RESTORE, shortened
from tests.support.servers import OWNER


def test_long_names_that_begin_alike_are_kept_apart(server):
    """Cut to what PostgreSQL takes, two names must not become one: undo would bring the other's back."""
    first, second = "ñ" * 30 + "a", "ñ" * 30 + "b"
    assert RESTORE.prefix(first) != RESTORE.prefix(second)
    assert shortened("short", 30) == "short"
    with server.connect("postgres", OWNER) as connection:
        assert dated_name(connection, first, ".before-")[:-16] != dated_name(connection, second, ".before-")[:-16]
        for name in (first, second, "x" * 63, "short"):
            assert len(dated_name(connection, name, ".before-").encode()) <= 63
            assert len(RESTORE.new_name(name).encode()) <= 63
        kept = dated_name(connection, first, ".before-")
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(kept)))
        try:
            assert kept_databases(connection, first) == [kept]
            assert kept_databases(connection, second) == []
            assert dated_name(connection, first, ".before-") != kept
        finally:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(kept)))


def test_a_database_that_is_missing_cannot_be_replaced(server, iacalls, monkeypatch, tmp_path):
    (tmp_path / "a.sql").write_text("-- PostgreSQL database dump\n-- PostgreSQL database dump complete\n")
    monkeypatch.setenv("IACALLS_DSN", server.dsn("nosuch", OWNER))
    outcome = iacalls("backup", "restore", str(tmp_path / "a.sql"), "--replace", "--confirm", "nosuch")
    assert outcome.code == 1
    assert "there is no database nosuch" in outcome.error
