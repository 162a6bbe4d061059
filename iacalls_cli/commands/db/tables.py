"""`iacalls db tables`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.operations.db.tables import Relation, list_relations
from iacalls_cli.table import table_of


def list_tables(run: Invocation, *, estimate: bool) -> None:
    """List tables and views."""
    with run.session() as session, diagnostics.waiting("counting rows"):
        relations = list_relations(session.connection, estimate=estimate)
    run.write(table_of(Relation, relations))
