"""The role that a restore test runs as: whatever code a backup holds, it can do no more than this role.

A table's owner can put code into a database that runs while it is restored: CHECK constraints,
generated columns, index expressions, types. On the embedded server a superuser would run programs
with it as the operator. This role is no superuser, a member of nothing, may read no file and run
no program of the server's machine, and owns nothing but the scratch database.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.db.temporary import drop_database
from iacalls_cli.queries import load_query
from iacalls_cli.text import pretty_size

PREFIX = "iacalls_restore_test_"
# Untrusted extensions, which only a superuser creates, whose functions lead nowhere out of the
# database: not dblink, postgres_fdw, file_fdw and adminpack.
HARMLESS_EXTENSIONS = frozenset(
    ("amcheck", "autoinc", "bloom", "dict_xsyn", "earthdistance", "insert_username", "intagg", "moddatetime",
     "pageinspect", "pg_buffercache", "pg_freespacemap", "pg_prewarm", "pg_stat_statements", "pg_visibility",
     "pgrowlocks", "pgstattuple", "refint")
)  # fmt: skip
LEAST_TEMPORARY_BYTES = 1 << 30
LOOK_SECONDS = 0.5


@dataclass
class RestrictedRole:
    """A role with its password; `is_late` says that its time was up and its sessions were ended."""

    name: str
    password: str = field(repr=False)
    is_late: bool = False


@contextmanager
def restricted_role(maintenance: Connection, data_bytes: int, limit_seconds: float) -> Iterator[RestrictedRole]:
    """Create a role for one restore test, and drop it after the block; its databases must be gone by then.

    Its temporary files may take twice the `data_bytes` of the backup's tables, at least 1 GB; its
    sessions are ended after `limit_seconds`. Raises `IacallsError` when that happened.
    """
    drop_leftovers(maintenance)
    role = RestrictedRole(PREFIX + secrets.token_hex(6), secrets.token_urlsafe(24))
    identifier = sql.Identifier(role.name)
    megabytes = max(LEAST_TEMPORARY_BYTES, 2 * data_bytes) >> 20
    done = threading.Event()
    watch = threading.Thread(target=end_when_late, args=(maintenance, role, limit_seconds, done), daemon=True)
    fetch(maintenance, load_query("backup/role-lock"), {"role": role.name})
    with maintenance.transaction():
        maintenance.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
            ).format(identifier, sql.Literal(role.password))
        )
        maintenance.execute(
            sql.SQL("ALTER ROLE {} SET temp_file_limit = {}").format(identifier, sql.Literal(f"{megabytes}MB"))
        )
    watch.start()
    try:
        yield role
    except IacallsError as error:
        if role.is_late:
            raise IacallsError(
                f"the restore test took longer than {limit_seconds:.0f} s and was ended",
                "[backup] rehearse_timeout in the config file sets the limit",
            ) from error
        if "temp_file_limit" in error.message:
            error.hint = f"the restore test may use {pretty_size(megabytes << 20)} of temporary files"
        raise
    finally:
        done.set()
        watch.join()
        drop_role(maintenance, role.name)


def end_when_late(maintenance: Connection, role: RestrictedRole, limit: float, done: threading.Event) -> None:
    """End the sessions of a role over and over once its time is up."""
    if done.wait(limit):
        return
    role.is_late = True
    while not done.is_set():
        try:
            fetch(maintenance, load_query("backup/end-role-sessions"), {"role": role.name})
        except IacallsError:  # the restore itself says that the server is gone
            return
        done.wait(LOOK_SECONDS)


def drop_leftovers(maintenance: Connection) -> None:
    """Drop the roles of killed restore tests, with their scratch databases and sessions."""
    for row in fetch(maintenance, load_query("backup/unused-roles"), {"prefix": PREFIX}):
        drop_role(maintenance, row["name"])


def drop_role(maintenance: Connection, name: str) -> None:
    """Drop a role of ours and what it still owns; one that cannot be dropped goes with the next restore test."""
    for row in fetch(maintenance, load_query("backup/role-databases"), {"role": name}):
        drop_database(maintenance, row["name"], force=True)
    with suppress(IacallsError):
        maintenance.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
