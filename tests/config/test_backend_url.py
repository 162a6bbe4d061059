"""The backend's own DATABASE_URL, written for node-postgres or Prisma, and addresses that only libpq knows."""

import secrets
import socket
import threading
from contextlib import suppress
from urllib.parse import quote

import psycopg
import pytest

from iacalls_cli.config.backend_url import read_backend_url
from iacalls_cli.config.target import Target, choose_target
from iacalls_cli.database.connection import open_session
from iacalls_cli.errors import ConnectionFailed, UsageError
from tests.support.servers import OWNER


@pytest.mark.parametrize(
    ("query", "kept", "left_out"),
    [
        ("sslmode=no-verify", "sslmode=require", ()),
        ("sslmode=verify-full&sslrootcert=/a%20b", "sslmode=verify-full&sslrootcert=/a%20b", ()),
        ("uselibpqcompat=true&sslmode=require", "sslmode=require", ("uselibpqcompat",)),
        ("ssl=true", "sslmode=require", ()),
        ("ssl=no-verify&application_name=app", "sslmode=require&application_name=app", ()),
        ("ssl=0", "sslmode=disable", ()),
        ("ssl=true&sslmode=verify-ca", "sslmode=verify-ca", ()),
        ("schema=public", "", ("schema",)),
        ("schema=public&connection_limit=5&pool_timeout=0&pgbouncer=true", "",
         ("schema", "connection_limit", "pool_timeout", "pgbouncer")),
        ("connect_timeout=30&socket_timeout=9&statement_cache_size=0", "connect_timeout=30",
         ("socket_timeout", "statement_cache_size")),
        ("sslaccept=strict&sslcert=ca.pem&sslmode=require", "sslmode=require", ("sslaccept", "sslcert")),
        ("sslcert=mine.pem&sslkey=mine.key", "sslcert=mine.pem&sslkey=mine.key", ()),
        ("currentSchema=public,x&max=20&idle_timeout=3", "", ("currentSchema", "max", "idle_timeout")),
        ("sslmod=require", "sslmod=require", ()),
        ("", "", ()),
    ],
)  # fmt: skip
def test_options_of_other_drivers_are_left_out_by_name(query, kept, left_out):
    base = "postgresql://ana:p%40ss@db.example:5432/x"
    url, names = read_backend_url(f"{base}?{query}", "DATABASE_URL")
    assert url == base + (f"?{kept}" if kept else "")
    assert names == left_out


@pytest.mark.parametrize("url", ["postgresql://ana:a?ssl=true@h/x", "host=h dbname=x", "postgresql:///x?host=/tmp"])
def test_what_is_no_option_stays_as_it_is(url):
    assert read_backend_url(url, "DATABASE_URL") == (url, ())


@pytest.mark.parametrize("option", ["schema=app", "currentSchema=app", "search_path=%22App%22,public"])
@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_LOCAL_URL"])
def test_another_schema_is_an_error_in_words(variable, option):
    with pytest.raises(UsageError, match=rf"{variable} names the schema '[aA]pp'.* works on schema public"):
        choose_target(None, None, {variable: f"postgresql://h/x?{option}"}, has_terminal=lambda: False)


@pytest.mark.parametrize("query", ["sslmode=no-verify", "ssl=true", "ssl=1", "uselibpqcompat=true", "schema=public"])
def test_tls_is_never_given_up_in_production(query):
    variables = {"NODE_ENV": "production", "DATABASE_URL": f"postgresql://h/x?{query}"}
    target = choose_target(None, None, variables, has_terminal=lambda: False)
    assert "sslmode=require" in target.dsn or target.keywords == {"sslmode": "require"}


def test_only_the_backends_own_variables_are_read_so():
    for source in ({"IACALLS_DSN": "postgresql://127.0.0.1:1/x?schema=public"}, {}):
        dsn = None if source else "postgresql://127.0.0.1:1/x?uselibpqcompat=true"
        target = choose_target(dsn, None, source, has_terminal=lambda: False)
        with pytest.raises(UsageError, match="invalid URI query parameter"):
            open_session(target, "x")


def test_a_url_of_prisma_connects_and_says_what_was_left_out(server, database, iacalls, monkeypatch):
    keywords = psycopg.conninfo.conninfo_to_dict(server.dsn(database, OWNER))
    where = quote(str(keywords["host"]), safe="")
    url = f"postgresql://{OWNER}:{keywords['password']}@{where}:{keywords['port']}/{database}"
    monkeypatch.setenv("DATABASE_URL", f"{url}?schema=public&connection_limit=5")
    outcome = iacalls("users", "list")
    assert outcome.code == 0, outcome.err
    assert "options of other drivers in the URL are left out: schema, connection_limit" in outcome.err


@pytest.mark.parametrize(
    "dsn", ["postgresql://ana:p%ss@host/db", "postgresql://ana:50%@host/db", "postgresql://ana:p@ss/w@host/db"]
)
def test_a_hint_names_every_character_that_a_uri_escapes(dsn):
    with pytest.raises(UsageError) as caught:
        open_session(Target("--dsn", dsn=dsn), "x")
    for escaped in ("% as %25", "@ as %40", "/ as %2F", ": as %3A"):
        assert escaped in caught.value.hint


@pytest.fixture
def abstract_socket(server):
    """The name of an abstract Unix-domain socket behind which the server under test answers, and the port."""
    keywords = psycopg.conninfo.conninfo_to_dict(server.dsn("postgres"))
    name, port = f"iacalls-{secrets.token_hex(4)}", 5432
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}/.s.PGSQL.{port}")
    listener.listen()
    threads: list[threading.Thread] = []

    def start(target, *args):
        threads.append(threading.Thread(target=target, args=args, daemon=True))
        threads[-1].start()
        return threads[-1]

    def pass_on(source, sink):
        with suppress(OSError):
            while piece := source.recv(65_536):
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def connect_far():
        if not str(keywords["host"]).startswith("/"):
            return socket.create_connection((keywords["host"], keywords["port"]))
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{keywords['host']}/.s.PGSQL.{keywords['port']}")
        return far

    def carry(near):
        with near, connect_far() as far:
            back = start(pass_on, far, near)
            pass_on(near, far)
            back.join()

    def serve():
        with suppress(OSError):
            while True:
                start(carry, listener.accept()[0])

    start(serve)
    yield name, port
    listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)
    listener.close()


@pytest.mark.parametrize("form", ["host=@{0}", "postgresql://%40{0}/", "postgresql:///?host=@{0}", "environment"])
def test_an_abstract_socket_is_no_host_name(server, database, abstract_socket, monkeypatch, form):
    name, port = abstract_socket
    keywords = psycopg.conninfo.conninfo_to_dict(server.dsn(database, OWNER))
    monkeypatch.setenv("PGPORT", str(port))
    dsn = form.format(name)
    if form == "environment":
        monkeypatch.setenv("PGHOST", f"@{name}")
        dsn = ""
    more = {key: keywords[key] for key in ("user", "password")} | {"dbname": database}
    session = open_session(Target("test", dsn=dsn, keywords=more), "x")
    try:
        assert session.connection.execute("SELECT current_database()").fetchone() == (database,)
        assert session.connection.autocommit
        assert str(session.place) == f"{database} on @{name} as {OWNER}"
        assert session.warnings == ()
    finally:
        session.close()


def test_an_abstract_socket_that_nobody_listens_at():
    with pytest.raises(ConnectionFailed, match="refused") as caught:
        open_session(Target("--dsn", dsn="host=@nobody-here dbname=x"), "x")
    assert "resolve" not in caught.value.message


def test_an_at_sign_of_a_password_is_still_no_socket():
    with pytest.raises(UsageError, match="no readable host") as caught:
        open_session(Target("--dsn", dsn="postgresql://ana:p@@w0rd@db/x"), "x")
    assert "w0rd" not in caught.value.message + caught.value.hint
