"""A new database on the server that restores: like the backup's or like another, dropped unless it is renamed."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.programs import Client
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import NO_SUCH_LOCALE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.contents import entries_as_text, entries_head, read_contents, read_encoding
from iacalls_cli.operations.backup.dump_file import Dump
from iacalls_cli.operations.backup.dump_filter import schema_of_extension
from iacalls_cli.operations.backup.restricted_role import HARMLESS_EXTENSIONS
from iacalls_cli.operations.backup.script import Script
from iacalls_cli.operations.backup.statement import Statement
from iacalls_cli.operations.compression import read_chunks
from iacalls_cli.operations.db.temporary import drop_database
from iacalls_cli.queries import load_query

OpenDatabase = Callable[[str], AbstractContextManager[Connection]]
OpenClient = Callable[[str], Client]
DEFAULT_TABLESPACE = "pg_default"
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}
PROVIDER_MAJOR = 15  # the first version with LOCALE_PROVIDER
ANY_BYTES = "SQL_ASCII"


@dataclass(frozen=True)
class RestorePlan:
    """What to restore of which dump: contents is full or schema; jobs at a time.

    `search_path` is the path under which rows, indexes and constraints are made, '' for the dump's own.
    """

    dump: Dump
    archive: Path
    contents: str
    jobs: int
    search_path: str = ""


@dataclass(frozen=True)
class Server:
    """The server to restore on: a session in its maintenance database, and ways into the others.

    For a restore test, `owner` is the restricted role that owns the new database and opens all
    sessions in it, and `open_as_administrator` opens one with the privileges to create extensions.
    """

    maintenance: Connection
    open_database: OpenDatabase
    open_client: OpenClient
    owner: str = ""
    is_test: bool = False
    open_as_administrator: OpenDatabase | None = None


def discard(server: Server, name: str) -> str:
    """Drop an unfinished database, also where a session of an ended program is still in it.

    A subscription or a logical slot in it keeps it from being dropped, and goes first. Returns why
    it could not be dropped, '' where it is gone.
    """
    reason = drop_database(server.maintenance, name, force=True)
    if not reason:
        return ""
    try:
        with (server.open_as_administrator or server.open_database)(name) as connection:
            release(connection)
    except IacallsError:
        return reason
    return drop_database(server.maintenance, name, force=True)


def release(connection: Connection) -> None:
    """Drop the subscriptions and unused logical slots of a database that is to be dropped."""
    for row in fetch(connection, load_query("backup/subscriptions")):
        if row["kind"] == "slot":
            connection.execute("SELECT pg_catalog.pg_drop_replication_slot(%s)", [row["name"]])
            continue
        subscription = sql.Identifier(row["name"])
        # Its slot is on another server, and another subscription's.
        for statement in (
            "ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)", "DROP SUBSCRIPTION {}",
        ):  # fmt: skip
            connection.execute(sql.SQL(statement).format(subscription))


def foreign_encoding(server: Server, name: str, plan: RestorePlan) -> str:
    """Return the encoding that a dump without a manifest says its text is in; '' for a backup of ours."""
    if plan.dump.manifest is not None:
        return ""
    if plan.dump.is_archive:
        return read_encoding(entries_head(server.open_client(name), plan.archive))
    return read_encoding(read_chunks(plan.archive))


def create_empty(
    maintenance: Connection, name: str, dump: Dump, like: str, owner: str = "", encoding: str = ""
) -> list[str]:
    """Create an empty database as a backup's was, or as `like` is; returns what could not be the same.

    `encoding` is that of a dump without a manifest. Raises `IacallsError` where its text need not be
    text in the encoding of `like`.
    """
    place = fetch(maintenance, load_query("backup/place"), {"name": like})[0] if like else {}
    facts = place or (dump.manifest.database if dump.manifest else {})
    if encoding == ANY_BYTES and place and place["encoding"] != ANY_BYTES:
        raise IacallsError(
            f"the dump is in {ANY_BYTES}, where any bytes are text, and {like} is in {place['encoding']}",
            "restore it into a new database with --into",
        )
    if encoding == ANY_BYTES and not facts:
        # In another encoding the server would take the bytes unseen, and never read them again.
        facts = {"encoding": ANY_BYTES, "collate": "C", "ctype": "C"}
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
    if owner:
        statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    if "encoding" not in facts:
        maintenance.execute(statement)
        return []
    encoded = statement + sql.SQL(" ENCODING {}").format(sql.Literal(facts["encoding"]))
    has_providers = maintenance.info.server_version // 10_000 >= PROVIDER_MAJOR
    options = [encoded + locale_of(facts, has_providers=has_providers)]
    if like:
        # The usual one needs a right only where it is named.
        if place["tablespace"] != DEFAULT_TABLESPACE:
            options[0] += sql.SQL(" TABLESPACE {}").format(sql.Identifier(place["tablespace"]))
    elif facts["encoding"] == "UTF8":
        options.append(encoded)
    else:
        # Another server may not know that locale; what it sorts by itself will do.
        provider = " LOCALE_PROVIDER libc" if has_providers else ""
        options.append(encoded + sql.SQL(f"{provider} LC_COLLATE 'C' LC_CTYPE 'C'"))
    for number, option in enumerate(options, 1):
        try:
            maintenance.execute(option)
        except DatabaseError as error:
            if error.sqlstate not in NO_SUCH_LOCALE:
                raise
            if number == len(options):
                raise DatabaseError(f"cannot create a database: {error.message}") from None
        else:
            return [] if number == 1 else [f"text is ordered by this server's locale, not by {facts['collate']}"]
    return []


def locale_of(facts: dict[str, str], *, has_providers: bool) -> sql.Composable:
    """How CREATE DATABASE is told the locale; `has_providers` from PostgreSQL 15 on."""
    locale = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(facts["collate"]), sql.Literal(facts["ctype"]))
    provider = PROVIDERS.get(facts.get("provider", "c"), "libc")
    if provider == "libc":
        # The server's own provider may be another one, which knows neither this locale nor every encoding.
        return sql.SQL(" LOCALE_PROVIDER libc") + locale if has_providers else locale
    option = sql.SQL(" LOCALE_PROVIDER {} {} {}").format(
        sql.SQL(provider), sql.SQL(f"{provider}_locale"), sql.Literal(facts["locale"])
    )
    return locale + option


def create_extensions(server: Server, name: str, plan: RestorePlan) -> frozenset[str]:
    """Create the harmless extensions of a backup that its restricted role may not create.

    As a superuser, and therefore before anything of the backup is in the database. Returns their names.
    """
    if server.open_as_administrator is None:
        return frozenset()
    wanted = [
        statement
        for statement in find_extensions(server.open_client(name), plan)
        if statement.identifiers and statement.identifiers[0] in HARMLESS_EXTENSIONS
    ]
    if not wanted:
        return frozenset()
    made: set[str] = set()
    with server.open_as_administrator(name) as connection:
        for statement in wanted:
            schema = schema_of_extension(statement)
            with suppress(DatabaseError):  # missing here: the restore names it
                if not schema.startswith("pg_"):
                    connection.execute(
                        sql.SQL("CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}").format(
                            sql.Identifier(schema), sql.Identifier(server.owner)
                        )
                    )
                connection.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {} CASCADE").format(
                        sql.Identifier(statement.identifiers[0]), sql.Identifier(schema)
                    )
                )
        made.update(row[0] for row in connection.execute("SELECT extname::text FROM pg_extension").fetchall())
    return frozenset(made)


def find_extensions(client: Client, plan: RestorePlan) -> Iterator[Statement]:
    """Yield the CREATE EXTENSION statements that a dump begins with."""
    if plan.dump.is_archive:
        entries = [entry for entry in read_contents(client, plan.archive) if entry.kind == "EXTENSION"]
        chunks: Iterable[bytes] = entries_as_text(client, plan.archive, entries)
    else:
        chunks = read_chunks(plan.archive)
    for text in Script(chunks).statements():
        statement = Statement(text)
        if statement.command in ("COPY", "INSERT") or (statement.command == "CREATE" and statement.kind == "TABLE"):
            return  # pg_dump writes extensions before tables
        if statement.command == "CREATE" and statement.kind == "EXTENSION":
            yield statement
