"""`db init`: a database with the documented schema and administrator, whole or not at all."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import DUPLICATE_DATABASE, INSUFFICIENT_PRIVILEGE, UNIQUE_VIOLATION
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.temporary import INIT, drop_database, lock_creation, rename_database
from iacalls_cli.operations.users import hash_password, hide_parameters
from iacalls_cli.queries import load_query, load_schema
from iacalls_cli.text import relation_name

NAMED_OBJECTS = 5


def database_exists(maintenance: Connection, name: str) -> bool:
    """Whether the server has a database of that name, asked in another one."""
    return bool(fetch(maintenance, load_query("db/database-exists"), {"name": name})[0]["present"])


def create_database(
    maintenance: Connection,
    name: str,
    password: str,
    open_database: Callable[[str], AbstractContextManager[Connection]],
) -> None:
    """Create a database with schema and administrator, under its name only when it is whole.

    It is made under a name of its own and renamed at the end, so that neither a failure, a
    kill nor a second init at the same moment can leave or meet half of it. `open_database`
    opens a session in a database of the given name. Raises `DatabaseError`, naming the right
    where the role lacks CREATEDB.
    """
    lock_creation(maintenance, name)
    unfinished = INIT.new_name(name)
    try:
        # template0 holds nothing of the site's own, and takes every encoding.
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
        maintenance.execute(statement.format(sql.Identifier(unfinished)))
    except DatabaseError as error:
        if error.sqlstate != INSUFFICIENT_PRIVILEGE:
            raise
        role = maintenance.info.user
        raise DatabaseError(
            f"the role {role} lacks the right CREATEDB, needed to create the database {name}",
            f"have a superuser run: ALTER ROLE {role} CREATEDB, or CREATE DATABASE {name} OWNER {role}",
            error.sqlstate,
        ) from None
    with ExitStack() as on_failure:
        on_failure.callback(drop_database, maintenance, unfinished)
        with open_database(unfinished) as connection:
            apply_schema(connection, password)
        try:
            rename_database(maintenance, unfinished, name)
        except DatabaseError as error:
            if error.sqlstate not in (DUPLICATE_DATABASE, UNIQUE_VIOLATION):
                raise
            raise DatabaseError(
                f"another session has just created the database {name}, nothing was changed", "see `iacalls db verify`"
            ) from None
        on_failure.pop_all()


def require_empty(connection: Connection) -> None:
    """Raise `DatabaseError` saying what a database already holds, unless that is nothing.

    Sequences and functions count where there are no tables or views: they are part of those,
    or what a half-removed schema left.
    """
    objects = fetch(connection, load_query("db/existing-objects"))
    tables = [row for row in objects if row["kind"] not in ("sequence", "function")]
    names = [relation_name(row["schema"], row["name"]) for row in tables or objects]
    if not names:
        return
    listed = ", ".join(names[:NAMED_OBJECTS]) + (", …" if len(names) > NAMED_OBJECTS else "")
    raise DatabaseError(
        f"the database {connection.info.dbname} already holds {len(names)} "
        f"{'tables or views' if tables else 'sequences or functions'} ({listed}), nothing was changed",
        "`iacalls db verify` compares them with the schema; to start anew, name a database that does not exist",
    )


def require_privileges(connection: Connection) -> None:
    """Raise `DatabaseError` naming the right, where the role may not create in schema public."""
    rights = fetch(connection, load_query("db/init-rights"))[0]
    if not rights["may_create"]:
        raise DatabaseError(
            f"the role {rights['role']} lacks the right CREATE on schema public of {connection.info.dbname}",
            f"connect as the owner {rights['owner']}, or: GRANT CREATE ON SCHEMA public TO {rights['role']}",
            INSUFFICIENT_PRIVILEGE,
        )


def apply_schema(connection: Connection, password: str, *, dry_run: bool = False) -> None:
    """Create schema and administrator in one transaction.

    With `dry_run` all of it happens and is rolled back. Raises `DatabaseError` when another
    init is at work, when the database is not empty, or when anything fails: nothing is left.
    """
    hashed = hash_password(password)
    with connection.transaction():
        if not fetch(connection, load_query("db/init-lock"))[0]["locked"]:
            raise INIT.at_work(connection.info.dbname)
        require_empty(connection)
        connection.execute(load_schema())
        hide_parameters(connection)
        fetch(connection, load_query("users/seed-administrator"), {"password": hashed})
        if dry_run:
            raise psycopg.Rollback
