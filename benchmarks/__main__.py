"""`python -m benchmarks [PART …] [--scale N] [--server embedded|local]`: print the tables of docs/benchmarks.md.

Parts: startup, reports, counts, export, loading, backup, cleanup. At scale 1000 (3 GB) the reports take some minutes.
"""

import argparse
import contextlib
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks import backup, cleanup, counts, export, loading, reports, startup
from iacalls_cli.database.connection import REPORTING, Connection, apply_settings
from iacalls_cli.embedded.bundle import bundled
from iacalls_cli.operations.db.init import apply_schema
from iacalls_cli.operations.sample.load import load_sample
from tests.support.servers import local_bundle, make_private_server

PARTS = {
    "startup": startup,
    "reports": reports,
    "counts": counts,
    "export": export,
    "loading": loading,
    "backup": backup,
    "cleanup": cleanup,
}
# What a small server for this amount of data would have; the rest as PostgreSQL ships it.
SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}


@contextlib.contextmanager
def bench_server(kind: str) -> Iterator[str]:
    """A server of its own; yields the DSN of its maintenance database."""
    server, _ = make_private_server(local_bundle() if kind == "local" else bundled(), **SETTINGS)
    try:
        server.start()
        yield psycopg.conninfo.make_conninfo(**server.conninfo("postgres"))
    finally:
        server.destroy()
        shutil.rmtree(server.places.home.parent, ignore_errors=True)


def make_database(dsn: str, name: str, scale: float) -> str:
    """A database with sample data of that scale; returns its DSN."""
    with psycopg.connect(dsn, autocommit=True) as maintenance:
        if not maintenance.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            maintenance.execute(f"CREATE DATABASE {name}")
    own = psycopg.conninfo.make_conninfo(dsn, dbname=name)
    with Connection.connect(own, autocommit=True) as connection:
        apply_settings(connection, read_only=False, limits=REPORTING)
        connection.execute("SET statement_timeout = 0")
        if not connection.execute("SELECT to_regclass('public.call_records')").fetchone()[0]:
            apply_schema(connection, "Contraseña-1")
            load_sample(connection, scale, 42, loading.ANCHOR, lambda table, done, total: None)
    return own


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all unless named")
    parser.add_argument("--scale", type=float, default=1000, help="of the sample data; 1000 is 5,000,000 calls")
    parser.add_argument("--server", choices=["embedded", "local"], default="embedded")
    parser.add_argument("--dsn", help="a running server's maintenance database instead; the data stay there")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    opened = contextlib.nullcontext(arguments.dsn) if arguments.dsn else bench_server(arguments.server)
    with opened as dsn:
        with psycopg.connect(dsn) as connection:
            version = connection.execute("SHOW server_version").fetchone()[0]
        cores = len(list(Path("/sys/devices/system/cpu").glob("cpu[0-9]*")))
        print(f"PostgreSQL {version}, Python {platform.python_version()}, {cores} cores, scale {arguments.scale:g}")
        for name in arguments.parts or PARTS:
            PARTS[name].measure(dsn, make_database, arguments.scale, arguments.runs)


if __name__ == "__main__":
    main()
