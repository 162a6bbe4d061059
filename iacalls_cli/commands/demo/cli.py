"""`iacalls demo`: from nothing to the documented reports, on the embedded server alone."""

from typing import Annotated

import typer

from iacalls_cli.commands.invocation import QUIET_OPTIONS, Invocation, command

app = typer.Typer(add_completion=False)
SEED = 20_251_029


@command(
    app,
    "demo",
    QUIET_OPTIONS,
    examples=("iacalls demo", "iacalls demo --scale 100", "iacalls demo --seed 7 --until 2025-11-30"),
)
def demo(
    run: Invocation,
    scale: Annotated[
        float,
        typer.Option("--scale", metavar="NUMBER", min=0.01, max=10_000, help="1 is 5,000 calls, 1000 is 5,000,000."),
    ] = 1,
    seed: Annotated[
        int, typer.Option("--seed", metavar="NUMBER", help="Another seed gives other data, the same seed the same.")
    ] = SEED,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The last day of the data; today unless given.")
    ] = None,
) -> None:
    """Start an embedded PostgreSQL, load sample data and show the documented reports.

    It never touches a configured database. Run again, it changes nothing.
    """
    from iacalls_cli.commands.demo.tour import run_demo

    run_demo(run, scale, seed, until)
