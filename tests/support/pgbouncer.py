"""A real PgBouncer in front of the server under test."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.support.servers import OWNER, PASSWORD, TestServer, free_port

# Distributions install it where only root's PATH looks.
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_SECONDS = 10


@dataclass
class Pooler:
    """A running PgBouncer."""

    port: int
    parameters: dict[str, Any]

    def dsn(self, database: str, role: str = OWNER) -> str:
        """A conninfo string that leads through the pooler."""
        return make_conninfo(**{**self.parameters, "dbname": database, "user": role})

    def connect(self, database: str, role: str = OWNER) -> psycopg.Connection:
        """The application's session through the pooler."""
        return psycopg.connect(self.dsn(database, role), autocommit=True, prepare_threshold=None)


@contextlib.contextmanager
def open_pooler(server: TestServer, mode: str, size: int = 1, **settings: str) -> Iterator[Pooler]:
    """PgBouncer in a pooling mode, with `size` sessions for each database and role."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed (apt-get install pgbouncer)")
    folder = Path(tempfile.mkdtemp(prefix="iacalls-pgbouncer-"))
    port = free_port()
    own = server.keywords("postgres")
    (folder / "users").write_text(f'"{OWNER}" "{PASSWORD}"\n"{own["user"]}" "{own.get("password", "")}"\n')
    values = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "trust",
        "auth_file": folder / "users", "pool_mode": mode, "default_pool_size": size, "admin_users": OWNER,
        # What the application would meet: PgBouncer cleans up in session mode, by default.
        "server_reset_query": "", "query_wait_timeout": 20, **settings,
    }  # fmt: skip
    lines = "\n".join(f"{name} = {value}" for name, value in values.items())
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={own['host']} port={own['port']}\n[pgbouncer]\n{lines}\n"
    )
    command = [PROGRAM, "-q", str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:  # it refuses to run as root
        account = pwd.getpwnam("nobody")
        for path in (folder, *folder.iterdir()):
            os.chown(path, account.pw_uid, account.pw_gid)
        command[1:1] = ["-u", "nobody"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            pooler = Pooler(port, {"host": "127.0.0.1", "port": port})
            wait_for(pooler, process)
            yield pooler
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder)


def wait_for(pooler: Pooler, process: "subprocess.Popen[bytes]") -> None:
    """Wait until it answers."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            pooler.connect("pgbouncer").close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                assert process.stderr is not None
                raise AssertionError(process.stderr.read().decode() if process.poll() is not None else "no answer")  # noqa: B904
            time.sleep(0.05)
        else:
            return
