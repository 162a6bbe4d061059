"""What would make a cleanup or an undo do other than it says: foreign keys that do not act, deletes the server refuses.

And the code of others that would run with a superuser's privileges, which is said before.
"""

from collections.abc import Iterable, Iterator, Sequence

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.database.sqlstates import LOCK_NOT_AVAILABLE, NO_REPLICA_IDENTITY
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.cleanup.cascades import Cascades
from iacalls_cli.operations.maintain.relations import CHANGES, ForeignKey, Relation
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# Where the setting comes from, by pg_settings.source, and how to take it back.
RESET = {
    "database": "ALTER DATABASE {database} RESET session_replication_role",
    "user": "ALTER ROLE {user} RESET session_replication_role",
    "database user": "ALTER ROLE {user} IN DATABASE {database} RESET session_replication_role",
    "client": "leave it out of PGOPTIONS or the connection's options",
    "configuration file": "ALTER SYSTEM RESET session_replication_role, then reload the configuration",
}


def require_origin(connection: Connection) -> None:
    """Raise `DatabaseError` unless foreign keys and triggers act in this session as in the application's."""
    (found,) = fetch(connection, load_query("maintain/session-role"))
    if found["role"] == "replica":  # local is as good as origin
        reset = RESET.get(found["source"], "RESET session_replication_role where it is set").format(**found)
        raise DatabaseError(
            f"session_replication_role is {found['role']}: foreign keys and triggers do not act in this session",
            f"{reset}; then try again",
        )


def require_keys(connection: Connection, what: str, keys: Iterable[ForeignKey], *, checks_only: bool = False) -> None:
    """Raise `DatabaseError` naming a foreign key whose own triggers are disabled.

    `checks_only` is for inserts, which only the triggers on the referencing table check.
    """
    found = fetch(connection, load_query("maintain/disabled-keys"), {"keys": [key.oid for key in keys]})
    for row in found:
        if row["is_check"] or not checks_only:
            table = relation_name(row["schema"], row["table"])
            raise DatabaseError(
                f"{what}the triggers of the foreign key {row['name']} on {table} are disabled, so it does not act",
                f"ALTER TABLE {row['quoted']} ENABLE TRIGGER ALL, as a superuser; "
                "then look for rows that refer to nothing",
            )


def require_permitted(connection: Connection, rule: str, cascades: Cascades) -> None:
    """Raise `DatabaseError` where the server would refuse the rule's deletes or updates; within a transaction.

    The server itself is asked, by EXPLAIN, which changes nothing: it knows what publications want.
    """
    schema = cascades.schema
    for leaf in schema.relations.values():
        if leaf.top in cascades.emptied and leaf.kind == "r":
            statement = sql.SQL("DELETE FROM ONLY {} WHERE false").format(leaf.identifier)
            ask_server(connection, f"rule {rule}: ", leaf, statement)
    for key in cascades.keys:
        if key.action in CHANGES:
            for leaf in schema.leaves(key.child):
                ask_server(connection, f"rule {rule}: ", leaf, set_null(leaf, key))


def require_updates(connection: Connection, relation: Relation, keys: Iterable[ForeignKey]) -> None:
    """Raise `DatabaseError` where the server would refuse to write the references of rows."""
    for key in keys:
        with connection.transaction(force_rollback=True):
            ask_server(connection, "", relation, set_null(relation, key))


def set_null(relation: Relation, key: ForeignKey) -> sql.Composed:
    """An update of the columns of a foreign key that meets no row."""
    values = sql.SQL(", ").join(sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in key.changed)
    return sql.SQL("UPDATE ONLY {} SET {} WHERE false").format(relation.identifier, values)


def ask_server(connection: Connection, what: str, relation: Relation, statement: sql.Composed) -> None:
    """Raise `IacallsError` where the server would not run a statement."""
    try:
        with connection.transaction(force_rollback=True), application_path(connection):
            connection.execute(sql.SQL("EXPLAIN {}").format(statement))
    except DatabaseError as error:
        if error.sqlstate == LOCK_NOT_AVAILABLE:  # the cleanup itself waits for longer
            return
        raise refusal(what, relation, error) from None


def refusal(what: str, relation: Relation, error: DatabaseError) -> DatabaseError:
    """Return the error of a statement that the server refuses."""
    hint = error.hint
    if error.sqlstate in NO_REPLICA_IDENTITY:
        hint = f"ALTER TABLE {relation.quoted} REPLICA IDENTITY FULL, or give it a primary key"
    return DatabaseError(f"{what}{error.message}", hint, error.sqlstate)


def warn_of_cleanup(connection: Connection, cascades: Cascades) -> Iterator[str]:
    """The code of others that a rule runs with the privileges of a superuser: triggers, and what planning evaluates.

    What the server itself changes for ON DELETE SET NULL is done as the table's owner; of the triggers on
    that, only those AFTER run as the session's role.
    """
    changed = {key.child for key in cascades.keys if key.action in CHANGES}
    for relation in cascades.written().values():
        is_emptied = relation.top in cascades.emptied
        for row in others_code(connection, relation):
            is_fired = row["on_delete"] if is_emptied else False
            if changed.intersection(relation.line) and row["on_update"] and not row["is_before"]:
                is_fired = True
            if row["is_planned"] or (row["kind"] == "trigger" and is_fired):
                yield words(connection, relation, row)


def warn_of_unvalidated(connection: Connection, cascades: Cascades) -> Iterator[str]:
    """The constraints that old rows may violate: such a row can be deleted, and not be put back."""
    for relation in cascades.written().values():
        if relation.top in cascades.emptied:
            for row in fetch(connection, load_query("maintain/not-valid"), {"oid": relation.oid}):
                yield (
                    f"the constraint {row['name']} on {relation} is NOT VALID: "
                    "`iacalls maintain undo` cannot put back rows that violate it"
                )


def warn_of_undo(connection: Connection, relations: Sequence[Relation]) -> Iterator[str]:
    """The code of others that writing rows back runs with the privileges of a superuser."""
    for relation in dict.fromkeys(relations):
        for row in others_code(connection, relation):
            if row["on_insert"]:
                yield words(connection, relation, row)


def others_code(connection: Connection, relation: Relation) -> list[dict[str, object]]:
    """Triggers and expressions of a table with functions of roles without superuser rights."""
    return fetch(connection, load_query("maintain/others-code"), {"oid": relation.oid})


def words(connection: Connection, relation: Relation, row: dict[str, object]) -> str:
    """The warning of one of them."""
    instead = (
        "use a role without superuser rights"
        if row["has_super_owner"]
        else f"use the role {row['table_owner']}, which owns the table"
    )
    return (
        f"the {row['kind']} {row['name']} on {relation} runs the function {row['function']} of {row['owner']} "
        f"with the privileges of the superuser {connection.info.user}; {instead}"
    )
