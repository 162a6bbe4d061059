"""Random scripts: as many statements come out of them as the server finds in the same text."""

import psycopg
import pytest
from psycopg import generators, pq

from iacalls_cli.operations.backup.run_script import SessionSyntax, read_statement
from iacalls_cli.operations.backup.script import Script
from tests.support.random_scripts import Scripts


@pytest.fixture
def session(server, empty_database):
    with server.connect(empty_database) as connection:
        connection.execute("SET backslash_quote = on; SET escape_string_warning = off; SET client_min_messages = error")
        connection.execute("SET check_function_bodies = off")
        yield connection


def count_results(session, text):
    """How many statements the server finds in one simple query; None where it does not take it whole."""
    session.pgconn.send_query(text)
    results = session.wait(generators.execute(session.pgconn))
    accepted = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
    return len(results) if all(result.status in accepted for result in results) else None


def compare(session, seed, count):
    """Compare scripts; returns how many the server took."""
    scripts, taken = Scripts(seed), 0
    for _ in range(count):
        text = scripts.script()
        session.execute(f"SET standard_conforming_strings = {'on' if scripts.is_standard else 'off'}")
        session.execute("BEGIN")
        wanted = count_results(session, text.encode())
        session.execute("ROLLBACK")
        if wanted is None:
            continue
        taken += 1
        whole = list(Script([text.encode()], SessionSyntax(session)).statements())
        assert len(whole) == wanted, text
        # In whatever pieces it comes.
        encoded = text.encode()
        pieces = [encoded[at : at + 3] for at in range(0, len(encoded), 3)]
        assert list(Script(pieces, SessionSyntax(session)).statements()) == whole
        for statement in whole:
            # Each is one to the server too, and reads as one.
            assert read_statement(session, statement).command in ("SELECT", "CREATE"), text
            tokens = list(read_statement(session, statement).tokens())
            assert [token.text for token in tokens if token.text == b";"][-1:] == [b";"]
            assert all(len(token.text) == 1 for token in tokens if token.kind == "other"), text
    return taken


@pytest.mark.postgres(">= 14")
def test_statements_are_those_of_the_server(session):
    assert compare(session, seed=1, count=150) > 75


@pytest.mark.slow
@pytest.mark.postgres(">= 14")
@pytest.mark.parametrize("seed", range(10, 20))
def test_statements_of_many_scripts_are_those_of_the_server(session, seed):
    assert compare(session, seed, count=200) > 100


@pytest.mark.slow
@pytest.mark.postgres(">= 14")
def test_each_statement_runs_by_itself(session):
    """One message a statement: the server refuses two in one."""
    scripts = Scripts(5)
    for _ in range(300):
        text = scripts.script().encode()
        session.execute(f"SET standard_conforming_strings = {'on' if scripts.is_standard else 'off'}")
        session.execute("BEGIN")
        wanted = count_results(session, text)
        session.execute("ROLLBACK")
        if wanted is None:
            continue
        session.execute("BEGIN")
        for statement in Script([text], SessionSyntax(session)).statements():
            session.pgconn.send_query_params(statement, None)
            result = session.wait(generators.execute(session.pgconn))[-1]
            assert result.status != pq.ExecStatus.FATAL_ERROR, (psycopg.errors.error_from_result(result), text)
        session.execute("ROLLBACK")
