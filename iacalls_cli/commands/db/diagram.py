"""`iacalls db diagram`."""

from iacalls_cli import diagnostics
from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.operations.db.diagram import as_dot, as_mermaid, as_text, read_diagram
from iacalls_cli.output.write import write_text

DRAW = {"mermaid": as_mermaid, "dot": as_dot, "text": as_text}


def draw_diagram(run: Invocation, output: str) -> None:
    """Draw the relations between the tables."""
    with run.session() as session:
        drawn = read_diagram(session.connection)
    if not drawn.tables:
        diagnostics.note("there is no table in this database")
    write_text(DRAW[output](drawn))
