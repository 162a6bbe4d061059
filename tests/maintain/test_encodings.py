"""`iacalls maintain cleanup` in databases of other encodings."""

import pytest
from psycopg import sql

from tests.support.servers import unused_name

RULE = """[maintain.rules.notas]
table = "public.notas"
age_column = "created_at"
age = "30d"
"""


@pytest.fixture
def encoded(server, request, use, tmp_path):
    name = unused_name()
    provider = "LOCALE_PROVIDER libc" if server.major >= 15 else ""
    with server.connect("postgres") as connection:
        connection.execute(
            sql.SQL(f"CREATE DATABASE {{}} ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C' {provider} TEMPLATE template0")
            .format(sql.Identifier(name))
        )  # fmt: skip
    with server.connect(name) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        connection.execute("CREATE TABLE notas (id int PRIMARY KEY, txt text, created_at timestamp)")
        word = "E'caf\\xe9'" if request.param == "SQL_ASCII" else "'café'"
        connection.execute(f"INSERT INTO notas VALUES (1, {word}, '2020-01-01'), (2, 'x', now())")
    use(name, "")
    folder = tmp_path / "config" / "iacalls"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(RULE)
    yield name
    server.drop_database(name)


def rows(server, name):
    with server.connect(name) as connection:
        return connection.execute("SELECT id FROM notas ORDER BY 1").fetchall()


@pytest.mark.parametrize("encoded", ["SQL_ASCII"], indirect=True)
def test_rows_in_sql_ascii_are_not_archived_and_the_plan_says_so(server, encoded, iacalls):
    for options in (["--dry-run"], ["-y"]):
        outcome = iacalls("maintain", "cleanup", "--only", "notas", *options)
        assert outcome.code == 2
        assert "SQL_ASCII" in outcome.error
        assert "--no-archive" in outcome.error
        assert rows(server, encoded) == [(1,), (2,)]
    done = iacalls("maintain", "cleanup", "--only", "notas", "--no-archive", "--confirm", encoded)
    assert done.code == 0, done.err
    assert rows(server, encoded) == [(2,)]


@pytest.mark.parametrize("encoded", ["LATIN1", "WIN1252", "LATIN9"], indirect=True)
def test_rows_in_other_encodings_are_archived_and_come_back(server, encoded, iacalls):
    assert iacalls("maintain", "cleanup", "--only", "notas", "-y").code == 0
    assert rows(server, encoded) == [(2,)]
    undone = iacalls("maintain", "undo", "latest", "-y")
    assert undone.code == 0, undone.err
    with server.connect(encoded) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        assert connection.execute("SELECT txt FROM notas WHERE id = 1").fetchone() == ("café",)
