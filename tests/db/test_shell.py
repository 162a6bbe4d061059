"""`iacalls db shell`: psql on the target, installed or bundled."""

import os
import shutil
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from iacalls_cli.embedded.bundle import Program, bundled, find_program
from tests.support.command_line import run_process, run_terminal
from tests.support.servers import OWNER, PASSWORD


def test_psql_runs_on_the_target(server, database):
    outcome = run_process(
        "db", "shell", stdin="SELECT 'ñ' || current_database();\n", env={"IACALLS_DSN": server.dsn(database, OWNER)}
    )
    assert outcome.code == 0
    assert f"ñ{database}" in outcome.out
    assert f"target: {database} on" in outcome.err


def test_at_a_terminal(server, database):
    code, screen = run_terminal(
        "db", "shell", answers=[("=>", "\\q\n")], env={"IACALLS_DSN": server.dsn(database, OWNER)}
    )
    assert code == 0
    assert f"{database}=>" in screen


def test_its_exit_code_is_psqls(server, database):
    script = "\\set ON_ERROR_STOP on\nSELECT 1/0;\n"
    outcome = run_process("db", "shell", stdin=script, env={"IACALLS_DSN": server.dsn(database, OWNER)})
    assert outcome.code == 3  # psql's own code for a script that failed
    assert "division by zero" in outcome.err


@pytest.fixture
def no_psql_installed(monkeypatch, tmp_path):
    """A PATH on which there is no psql."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))


def test_the_bundled_psql_serves_where_none_is_installed(server, database, no_psql_installed):
    assert find_program("psql") == Program(bundled().programs / "psql", is_bundled=True)
    outcome = run_process("db", "shell", stdin="SELECT 6 * 7;\n", env={"IACALLS_DSN": server.dsn(database, OWNER)})
    assert outcome.code == 0
    assert "42" in outcome.out


@pytest.mark.parametrize("variable", ["", "PGSSLMODE"])
def test_the_bundled_psql_is_refused_where_tls_is_asked_for(server, database, no_psql_installed, variable):
    """Found out before anything starts, and never an unencrypted connection instead."""
    dsn = server.dsn(database, OWNER)
    environment = {"IACALLS_DSN": dsn, variable: "require"} if variable else {"IACALLS_DSN": f"{dsn} sslmode=require"}
    outcome = run_process("db", "shell", stdin="SELECT 1;\n", env=environment)
    assert outcome.code == 2
    assert "the bundled psql knows no TLS" in outcome.error


def test_an_installed_client_is_preferred(monkeypatch, tmp_path):
    installed = tmp_path / "psql"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("psql") == Program(installed, is_bundled=False)
    for name in ("pg_dump", "pg_restore"):
        assert os.access(find_program(name).path, os.X_OK)


def test_the_password_is_not_in_its_arguments(server, database, monkeypatch, tmp_path):
    """A psql that tells what it was given."""
    fake = tmp_path / "psql"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\necho "environment: $PGPASSWORD"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(shutil.which('sh')).parent}")
    outcome = run_process("db", "shell", env={"IACALLS_DSN": server.dsn(database, OWNER)})
    arguments, _, environment = outcome.out.partition("environment: ")
    assert environment.strip() == PASSWORD
    assert PASSWORD not in arguments
    assert "application_name" in arguments


def test_a_password_that_was_asked_for_serves_psql_too(server, database):
    dsn = server.dsn(database, OWNER).replace(f"password={PASSWORD}", "")
    answers = [("Password for", f"{PASSWORD}\n"), ("=>", "\\q\n")]
    code, screen = run_terminal("db", "shell", answers=answers, env={"IACALLS_DSN": dsn})
    assert code == 0
    assert PASSWORD not in screen


def test_a_keys_password_is_not_passed_to_psql(server, database):
    """libpq takes it from the arguments alone, where other users see it."""
    outcome = run_process("db", "shell", env={"IACALLS_DSN": f"{server.dsn(database, OWNER)} sslpassword=s3cret"})
    assert outcome.code == 2
    assert "sslpassword" in outcome.error
    assert "s3cret" not in outcome.error


@pytest.mark.parametrize("hosts", ["host={h},{h} hostaddr={h},{h} port={p},{p}", "host={h},{h} port={p},{p}"])
def test_psql_goes_to_the_server_of_the_session(server, database, hosts):
    keywords = server.keywords(database, OWNER)
    given = hosts.format(h=keywords.pop("host"), p=keywords.pop("port"))
    dsn = f"{make_conninfo(**keywords)} {given}"
    outcome = run_process("db", "shell", stdin="SELECT 6 * 7;\n", env={"IACALLS_DSN": dsn})
    assert outcome.code == 0, outcome.err
    assert "42" in outcome.out
