"""Bringing a dump back into a new database: never over an existing one, whole or not at all."""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import database_errors
from iacalls_cli.database.programs import Client, start_program, widen_pipe
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.dump import Progress, wait_a_moment
from iacalls_cli.operations.backup.manifest import TableRows
from iacalls_cli.operations.backup.material import Material
from iacalls_cli.operations.backup.script import COPY_FROM, Rule, run_script
from iacalls_cli.operations.backup.snapshot import copied_rows, count_table, read_source
from iacalls_cli.operations.backup.surroundings import TIMEOUT_MAJOR, Surroundings, read_surroundings
from iacalls_cli.operations.backup.verify import list_archive
from iacalls_cli.operations.compression import read_chunks
from iacalls_cli.operations.db.sequences import advance_sequences
from iacalls_cli.operations.db.unfinished import Making, drop_database, lock_creation
from iacalls_cli.operations.files import CHUNK_BYTES
from iacalls_cli.queries import load_query

OpenDatabase = Callable[[str], AbstractContextManager[Connection]]
OpenClient = Callable[[str], Client]
USUAL_TABLESPACE = "pg_default"
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
LATE = re.compile(
    r"\d+; \d+ \d+ (?:BLOB METADATA|ACL - LARGE OBJECT|DEFAULT ACL|PUBLICATION|SUBSCRIPTION|EVENT TRIGGER"
    r"|STATISTICS|INDEX|CONSTRAINT) "
)
FILLING = re.compile(
    rb"INSERT INTO |SELECT pg_catalog\.(?:setval|lo\w*)\(|REFRESH MATERIALIZED VIEW |"
    rb"(?:ALTER|COMMENT ON|GRANT\s.+\sON|REVOKE\s.+\sON) LARGE OBJECT ",
    re.DOTALL,
)


@dataclass(frozen=True)
class RestorePlan:
    """What to restore of which material: contents is full or schema; jobs at a time."""

    material: Material
    archive: Path
    contents: str
    jobs: int


@dataclass
class Restored:
    """A restored database, and what is to be said of it. `tables` are its rows as counted there."""

    name: str
    tables: tuple[TableRows, ...] = ()
    notes: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """The server to restore on: a session in its maintenance database, and ways into the others."""

    maintenance: Connection
    open_database: OpenDatabase
    open_client: OpenClient


@contextmanager
def restored_database(
    server: Server, name: str, making: Making, plan: RestorePlan, like: str, progress: Progress
) -> Iterator[Restored]:
    """A new database under an unfinished name, with everything restored and compared.

    Inside the block it may be renamed; what still has its unfinished name after it is dropped.
    `like` is a database whose encoding, order and tablespace it gets, or ''. Raises `IacallsError`
    with the words of the server or the restore programs, and nothing is left.
    """
    lock_creation(server.maintenance, name, making)
    unfinished = making.new_name(name)
    try:
        notes = create_empty(server.maintenance, unfinished, plan.material, like)
        with server.open_database(unfinished) as connection:
            restored = fill(connection, server.open_client(unfinished), plan, progress)
        restored.name = unfinished
        restored.notes[:0] = notes
        yield restored
    finally:
        # Also where a session of a program that was ended is still at work in it.
        drop_database(server.maintenance, unfinished, force=True)


def create_empty(maintenance: Connection, name: str, material: Material, like: str) -> list[str]:
    """Create an empty database as a backup's was, or as `like` is; returns what could not be the same."""
    place = fetch(maintenance, load_query("backup/place"), {"name": like})[0] if like else {}
    facts = place or (material.manifest.database if material.manifest else {})
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    if "encoding" not in facts:
        with database_errors():
            maintenance.execute(statement)
        return []
    encoded = statement + sql.SQL(" ENCODING {}").format(sql.Literal(facts["encoding"]))
    options = [encoded + locale_of(facts)]
    if like:
        # The usual one needs a right only where it is named.
        if place["tablespace"] != USUAL_TABLESPACE:
            options[0] += sql.SQL(" TABLESPACE {}").format(sql.Identifier(place["tablespace"]))
    else:
        # Another server may not know that locale; what it sorts by itself will do.
        options.append(encoded + sql.SQL(" LC_COLLATE 'C' LC_CTYPE 'C'") if facts["encoding"] != "UTF8" else encoded)
    for number, option in enumerate(options, 1):
        try:
            maintenance.execute(option)
        except (psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue,
                psycopg.errors.UndefinedObject, psycopg.errors.FeatureNotSupported,
                psycopg.errors.SyntaxError) as error:  # fmt: skip
            if number == len(options):
                raise DatabaseError(f"cannot create a database: {error.diag.message_primary}") from None
        except psycopg.Error:
            with database_errors():
                raise
        else:
            return [] if number == 1 else [f"text is ordered by this server's locale, not by {facts['collate']}"]
    return []


def locale_of(facts: dict[str, str]) -> sql.Composable:
    """How CREATE DATABASE is told the locale."""
    locale = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(facts["collate"]), sql.Literal(facts["ctype"]))
    provider = PROVIDERS.get(facts.get("provider", "c"), "libc")
    if provider == "libc":
        return locale
    option = sql.SQL(" LOCALE_PROVIDER {} {} {}").format(
        sql.SQL(provider), sql.SQL(f"{provider}_locale"), sql.Literal(facts["locale"])
    )
    return locale + option


def fill(connection: Connection, client: Client, plan: RestorePlan, progress: Progress) -> Restored:
    """Restore into an empty database, then settle and compare it."""
    surroundings = read_surroundings(connection)
    material = plan.material
    rule: Rule = surroundings.apply
    if not material.is_archive:
        rule = rule if plan.contents == "full" else structure_only(rule)
        run_script(connection, read_chunks(plan.archive), rule, surroundings.pardons)
    elif plan.contents == "schema":
        run_script(connection, archive_script(client, plan.archive, "--schema-only"), rule, surroundings.pardons)
    else:
        restore_archive(connection, client, plan, surroundings, progress)
    # A plain dump leaves its own settings behind.
    settle_again(connection)
    moved = advance_sequences(connection)
    with database_errors():
        connection.execute("ANALYZE")
    source = read_source(connection)
    tables = tuple(count_table(connection, relation) for relation in source.tables)
    surroundings.grant_rights(connection)
    restored = Restored("", tables, surroundings.notes())
    if moved:
        listed = ", ".join(f"{sequence.name} to {sequence.next_value}" for sequence in moved)
        restored.notes.append(f"sequences were behind their tables and moved forward: {listed}")
    if plan.contents == "full":
        restored.differences = compare_rows(material, tables)
    return restored


def settle_again(connection: Connection) -> None:
    """Undo what a dump's own SET statements left in the session."""
    with database_errors():
        for name, value in (
            ("search_path", "pg_catalog, pg_temp"),
            ("row_security", "on"),
            ("client_encoding", "UTF8"),
            ("standard_conforming_strings", "on"),
        ):
            connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])


def structure_only(rule: Rule) -> Rule:
    """A rule that leaves out what fills tables and sets sequences."""

    def apply(statement: bytes) -> bytes | None:
        if COPY_FROM.fullmatch(statement) or FILLING.match(statement):
            return None
        return rule(statement)

    return apply


def archive_script(client: Client, archive: Path, *options: str) -> Iterator[bytes]:
    """The SQL that pg_restore makes of an archive, in pieces; raises `IacallsError` where it fails."""
    command = [str(client.programs.folder / "pg_restore"), "--file=-", *options, str(archive)]
    with start_program(command, stdout=PIPE) as running:
        stream = running.process.stdout
        assert stream is not None  # noqa: S101, it was asked for
        widen_pipe(stream)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
        running.check()


def restore_archive(
    connection: Connection, client: Client, plan: RestorePlan, surroundings: Surroundings, progress: Progress
) -> None:
    """The structure statement by statement, then rows, indexes and keys by as many jobs as wanted."""
    structure = archive_script(client, plan.archive, "--section=pre-data")
    run_script(connection, structure, surroundings.apply, surroundings.pardons)
    sections = ("--section=data", "--section=post-data")
    if client.programs.major >= TIMEOUT_MAJOR > surroundings.major:
        # Its first statement is one that this server does not know.
        run_script(
            connection, archive_script(client, plan.archive, *sections), surroundings.apply, surroundings.pardons
        )
        return
    manifest = plan.material.manifest
    rows = {(table.schema, table.name): table for table in manifest.tables} if manifest else {}
    run_script(connection, late_rights(client, plan.archive), surroundings.keep_rights)
    options = [*sections, "--exit-on-error", "--no-owner", "--no-privileges", "--no-password", f"--jobs={plan.jobs}"]
    if surroundings.lacking_tablespaces:
        options.insert(0, "--no-tablespaces")
    if plan.material.format == "tar":
        options.pop()
    with client.start("pg_restore", *options, f"--dbname={client.conninfo}", str(plan.archive)) as running:
        while running.process.poll() is None:
            for key, done in copied_rows(connection, client.application).items():
                if table := rows.get(key):
                    progress(str(table), min(done, table.rows), table.rows)
            wait_a_moment(running)
        running.check()


def late_rights(client: Client, archive: Path) -> Iterator[bytes]:
    """The SQL of what has an owner, a right or a tablespace, and is no part of an archive's first section."""
    entries = [line for line in list_archive(archive, client.programs.major) if LATE.match(line)]
    if not entries:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as chosen:
        chosen.writelines(f"{line}\n" for line in entries)
        chosen.flush()
        yield from archive_script(client, archive, f"--use-list={chosen.name}")


def compare_rows(material: Material, tables: tuple[TableRows, ...]) -> list[str]:
    """Where the restored rows are not as many as the manifest says."""
    if material.manifest is None:
        return []
    found = {(table.schema, table.name): table.rows for table in tables}
    return [
        f"{table} has {found.get((table.schema, table.name), 0):,} rows, and had {table.rows:,}"
        for table in material.manifest.tables
        if found.get((table.schema, table.name)) != table.rows
    ]


def require_same(restored: Restored) -> None:
    """Raise `IacallsError` where rows are missing or too many."""
    if restored.differences:
        raise IacallsError(f"the restored rows are not those of the backup: {'; '.join(restored.differences)}")
