"""`iacalls db verify`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.database.rows import fetch
from iacalls_cli.errors import ProblemsFound, UsageError
from iacalls_cli.operations.db.compare import Finding
from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.verify import VerifiedTable, verify_database
from iacalls_cli.output.write import Format, write_text
from iacalls_cli.queries import load_query
from iacalls_cli.table import Result, table_of


def verify_schema(run: Invocation, *, estimate: bool, sql: bool) -> None:
    """Compare the database with the documented schema; raise `ProblemsFound` for differences."""
    if sql and run.output is not Format.TABLE:
        raise UsageError("--sql prints SQL, and --output asks for something else", "give one of them")
    with run.session() as session, diagnostics.waiting("verifying"):
        verification = verify_database(session.connection, estimate=estimate)
        is_empty = verification.is_empty and not fetch(session.connection, load_query("db/existing-objects"))
    if sql:
        write_text(repair_script(verification.differences))
        hint = "the SQL above mends them; read it, then run it with psql"
    else:
        findings = table_of(Finding, verification.findings, "Findings")
        run.write(Result(table_of(VerifiedTable, verification.tables), {"findings": findings}))
        hint = f"{run.repeat('db verify --sql')} prints the SQL that mends them"
    if is_empty:
        hint = f"{run.repeat('db init')} makes the schema in an empty database"
    if verification.problems:
        raise ProblemsFound(f"{verification.problems} differences from the documented schema", hint)
