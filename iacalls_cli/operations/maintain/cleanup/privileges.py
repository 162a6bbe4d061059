"""What a role needs to clean a table up: found out before anything runs, not at the first row."""

from collections.abc import Iterable

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.maintain.cleanup.cascades import Cascades
from iacalls_cli.operations.maintain.cleanup.ranges import primary_key
from iacalls_cli.queries import load_query

OWNERS_ROLE = "use the role that owns the tables"
RIGHTS = {"may_read": "SELECT", "may_delete": "DELETE", "may_lock": "UPDATE"}


def require_access(connection: Connection, rule: str, cascades: Cascades) -> None:
    """Raise `DatabaseError` unless this role sees, may lock and may delete all that a rule's rows take along.

    Rows that row security hides would go by a cascade all the same: unseen, and in no archive.
    """
    emptied = {one.oid for one in cascades.schema.relations.values() if one.top in cascades.emptied}
    for relation in cascades.written().values():
        wanted: Iterable[str] = RIGHTS if relation.oid in emptied else ("may_read", "may_lock")
        require_privileges(connection, rule, str(relation), relation.oid, wanted)
    for other in (*(key.child for key in cascades.keys), *(key.parent for key in cascades.keys)):
        require_privileges(connection, rule, str(cascades.schema.relations[other]), other, ("may_read",))


def require_privileges(connection: Connection, rule: str, table: str, oid: int, wanted: Iterable[str]) -> None:
    """Raise `DatabaseError` unless this role has the wanted rights on one table, and nothing interferes."""
    (found,) = fetch(connection, load_query("maintain/access"), {"oid": oid})
    if missing := [RIGHTS[right] for right in wanted if not found[right]]:
        raise DatabaseError(
            f"rule {rule}: the role {connection.info.user} lacks {', '.join(missing)} on {table}", OWNERS_ROLE
        )
    if found["has_row_security"]:
        raise DatabaseError(
            f"rule {rule}: row security hides rows of {table} from this role",
            row_security_hint(found["quoted"], is_owner=found["is_owner"], is_forced=found["is_forced"]),
        )
    if found["delete_rule"] and "may_delete" in wanted:
        raise DatabaseError(
            f"rule {rule}: the rule {found['delete_rule']} on {table} turns deletes into something else",
            "drop it, or choose rules that leave this table out",
        )


def row_security_hint(table: str, *, is_owner: bool, is_forced: bool) -> str:
    """What lets a role see all rows of a table with row security; pg_read_all_data does not."""
    if is_owner:
        return f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, or use a role with BYPASSRLS"
    return "use a role with BYPASSRLS" + ("" if is_forced else ", or the table's owner")


def require_places(connection: Connection, rule: str, cascades: Cascades) -> None:
    """Raise `IacallsError` for rows that are not on this server alone, or that nothing tells from one another."""
    for relation in cascades.written().values():
        if relation.kind == "f" or (relation.is_spread and cascades.keys):
            raise DatabaseError(
                f"rule {rule}: it leads to {relation}, whose rows are not on this server alone",
                "delete those where they are, or choose the other rules",
            )
    for leaf in cascades.schema.leaves(cascades.oid):
        if not leaf.has_tids:
            primary_key(connection, leaf)
