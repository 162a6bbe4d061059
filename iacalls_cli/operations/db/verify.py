"""`db verify`: the live catalogue against the documented one, row counts, known passwords."""

from dataclasses import dataclass

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.catalog import Catalogue, ObjectKey, expected_catalog
from iacalls_cli.operations.db.compare import Difference, Finding, compare, finding_of, sort_differences
from iacalls_cli.operations.db.meaning import read_same
from iacalls_cli.operations.db.next_values import find_next_values
from iacalls_cli.operations.db.obstacles import find_obstacles
from iacalls_cli.operations.db.row_count import plans_foreign_code
from iacalls_cli.operations.db.tables import Relation, list_relations
from iacalls_cli.operations.users import users_with_default_password
from iacalls_cli.queries import load_query
from iacalls_cli.table import Bytes


@dataclass(frozen=True)
class VerifiedTable:
    """One table or view of the schema, as found. `state` is ok, problem or missing."""

    name: str
    kind: str
    rows: int | None
    counted: str
    size: Bytes | None
    state: str
    findings: int


@dataclass(frozen=True)
class Verification:
    """What `db verify` found."""

    tables: tuple[VerifiedTable, ...]
    findings: tuple[Finding, ...]
    differences: tuple[Difference, ...]

    @property
    def problems(self) -> int:
        """How many findings mean that the database is not as documented."""
        return sum(finding.verdict == "problem" for finding in self.findings)

    @property
    def is_empty(self) -> bool:
        """Whether no table and no view of the schema is there."""
        return all(table.state == "missing" for table in self.tables)


def verify_database(connection: Connection, *, estimate: bool = False) -> Verification:
    """Compare the database with the documented schema; only reads, on a replica too.

    Raises `DatabaseError` or `ConnectionFailed`.
    """
    expected = expected_catalog()
    found = read_same(connection, expected, read_catalog(connection))
    differences = [*compare(expected, found), *find_next_values(connection, expected)]
    differences = sort_differences(find_obstacles(connection, differences, found))
    findings = [finding_of(difference) for difference in differences]
    relations = {relation.name: relation for relation in list_relations(connection, estimate=estimate)}
    findings += find_default_passwords(connection)
    names = {key.relation: key.kind for key in sorted(expected) if key.kind in ("table", "view")}
    tables = [verified(name, kind, relations.get(name), findings) for name, kind in names.items()]
    return Verification(tuple(tables), tuple(findings), tuple(differences))


def read_catalog(connection: Connection) -> Catalogue:
    """The structure of schema public."""
    rows = fetch(connection, load_query("db/catalogue"))
    return {ObjectKey(row["kind"], row["relation"], row["name"]): row["definition"] for row in rows}


def verified(name: str, kind: str, relation: Relation | None, findings: list[Finding]) -> VerifiedTable:
    """The verdict on one table or view."""
    own = [finding for finding in findings if finding.relation == name]
    if relation is None:
        return VerifiedTable(name, kind, None, "", None, "missing", len(own))
    state = "problem" if any(finding.verdict == "problem" for finding in own) else "ok"
    return VerifiedTable(name, relation.kind, relation.rows, relation.counted, relation.size, state, len(own))


def find_default_passwords(connection: Connection) -> list[Finding]:
    """A warning for each user who still has the documented default password."""
    if plans_foreign_code(connection, "public", "users"):
        finding = "passwords were not checked: an index or constraint of the table has functions of another role"
        return [Finding("note", "users", "table users", finding, "", "")]
    try:
        names, unchecked = users_with_default_password(connection)
    except DatabaseError as error:
        # No users table, or no right to read it: told by the comparison, or by design of the role.
        finding = f"passwords were not checked: {error.message}"
        return [Finding("note", "users", "table users", finding, "", "")]
    hint = "has the documented default password; change it with `iacalls users set-password {}`"
    findings = [Finding("warning", "users", f"user {name}", hint.format(name), "", "") for name in names]
    if unchecked:
        finding = f"the passwords of {unchecked} more users were not checked"
        findings.append(Finding("note", "users", "table users", finding, "", ""))
    return findings
