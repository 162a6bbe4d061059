"""The sessions a restore needs: in the maintenance database of its server, and in the others there."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.maintenance_database import open_maintenance
from iacalls_cli.database.connection import Limits, require_primary
from iacalls_cli.database.parameters import libpq_parameters, resolve
from iacalls_cli.database.programs import connect_client
from iacalls_cli.operations.backup.dump_file import Dump
from iacalls_cli.operations.backup.new_database import Server

if TYPE_CHECKING:
    from iacalls_cli.config.target import Target
    from iacalls_cli.database.connection import Connection, Session
    from iacalls_cli.database.programs import Client

PATIENT = Limits("0", "10s")


@contextmanager
def open_server(
    run: Invocation, dump: Dump | None, target: "Target | None" = None, *, renames: bool = False
) -> "Iterator[tuple[Session, Server]]":
    """A writing session on the maintenance database of the target's server, named as the target.

    `renames` says that the target's own database will be renamed: no session of ours may be in it.
    """
    target = target or run.target()
    database = target_database(target)
    with open_maintenance(run, target, avoid=(database,) if renames else (), limits=PATIENT) as opened:
        session = replace(opened, place=replace(opened.place, database=database))
        run.announce(session)
        require_primary(session)
        major = dump.major if dump else 0

        def open_client(name: str) -> "Client":
            return connect_client(session, target, run.command, major=major, database=name)

        if dump is not None and dump.is_archive:
            open_client(database)  # so that programs that do not fit are told before anything is done
        yield session, Server(session.connection, partial(open_one, run, target), open_client)


@contextmanager
def open_one(run: Invocation, target: "Target", name: str) -> "Iterator[Connection]":
    """The connection of a writing session in a database of the server, without the limits of a report."""
    with open_named(run, target, name) as session:
        yield session.connection


def open_named(run: Invocation, target: "Target", name: str) -> "AbstractContextManager[Session]":
    """A writing session in a database of the server, without the limits of a report."""
    return run.session(target=target, database=name, read_only=False, limits=PATIENT, is_named=False)


@contextmanager
def second_session(run: Invocation) -> "Iterator[Connection]":
    """Another session on the maintenance database, to end other sessions from."""
    target = run.target()
    with open_maintenance(run, target, avoid=(target_database(target),), limits=PATIENT) as session:
        yield session.connection


def target_database(target: "Target") -> str:
    """The name of the target's database; '' where it names none."""
    values = resolve(libpq_parameters(target))
    return values.get("dbname") or values.get("user", "")
