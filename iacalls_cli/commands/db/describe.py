"""`iacalls db describe`."""

from dataclasses import replace

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.operations.db.describe import describe_relation
from iacalls_cli.output.write import Format, write_text
from iacalls_cli.table import Result


def describe_table(run: Invocation, table: str) -> None:
    """Show one relation with all that belongs to it."""
    with run.session() as session:
        description = describe_relation(session.connection, table)
    relation = description.relation
    comment = f": {relation['comment']}" if relation["comment"] else ""
    columns = replace(description.columns, title=f"{relation['kind']} {relation['name']}{comment}")
    run.write(Result(columns, {"relation": dict(relation), **description.parts}))
    if run.output is Format.TABLE and relation["definition"]:
        write_text(f"\nDefinition\n{relation['definition']}")
