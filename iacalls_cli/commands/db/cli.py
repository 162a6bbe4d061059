"""`iacalls db`: make, compare, list, describe and draw the database."""

from enum import StrEnum
from typing import Annotated

import typer

from iacalls_cli.commands.invocation import (
    OUTPUT_OPTIONS,
    QUIET_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    Invocation,
    command,
)
from iacalls_cli.errors import IacallsError
from iacalls_cli.group import Group
from iacalls_cli.options import TableName

app = typer.Typer(
    name="db", cls=Group, help="Create, verify, list and draw the database.", no_args_is_help=True, add_completion=False
)

Estimate = Annotated[
    bool, typer.Option("--estimate", help="For tables over a million rows, the planner's estimate instead of a count.")
]


class DiagramFormat(StrEnum):
    """How a diagram is written."""

    MERMAID = "mermaid"
    DOT = "dot"
    TEXT = "text"


@command(
    app,
    "init",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    WRITE_OPTIONS,
    examples=(
        "iacalls db init --dsn embedded",
        "iacalls db init --dsn postgresql://postgres@db.example/iacalls_db --generate-admin-password",
    ),
)
def init(
    run: Invocation,
    admin_password_stdin: Annotated[
        bool, typer.Option("--admin-password-stdin", help="Read the administrator's password from stdin.")
    ] = False,
    generate_admin_password: Annotated[
        bool, typer.Option("--generate-admin-password", help="Make a password and print it, this once.")
    ] = False,
    allow_default_password: Annotated[
        bool, typer.Option("--allow-default-password", help="Accept the documented default password anywhere.")
    ] = False,
) -> None:
    """Create the database where it is missing, with the documented schema and administrator.

    Everything happens in one transaction: a failure leaves nothing behind. A database that
    already holds tables is not touched.
    """
    from iacalls_cli.commands.db.init import AdminPassword, initialise

    password = AdminPassword(admin_password_stdin, generate_admin_password, allow_default_password)
    made = initialise(run, password)
    try:
        run.write(made)
    except OSError as error:
        if not generate_admin_password:
            raise
        hint = f"set another one with {run.repeat('users set-password admin')}"
        raise IacallsError(f"the database is made, its password cannot be written: {error.strerror}", hint) from None


@command(
    app,
    "verify",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls db verify",
        "iacalls db verify --sql > mend.sql",
    ),
)
def verify(
    run: Invocation,
    estimate: Estimate = False,
    sql: Annotated[bool, typer.Option("--sql", help="Print only the SQL that would mend the findings.")] = False,
) -> None:
    """Compare the database with the documented schema; exit 0 when it is the same, 4 when not.

    Tables, columns, types, defaults, keys, checks, indexes, triggers, functions and views are
    compared, rows are counted, and users with the documented default password are named. It
    only reads, so a read-only role and a replica will do.
    """
    from iacalls_cli.commands.db.verify import verify_schema

    verify_schema(run, estimate=estimate, sql=sql)


@command(
    app,
    "tables",
    OUTPUT_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls db tables",
        "iacalls db tables -o csv",
    ),
)
def tables(run: Invocation, estimate: Estimate = False) -> None:
    """List tables and views with their rows and size (in bytes, indexes included)."""
    from iacalls_cli.commands.db.tables import list_tables

    list_tables(run, estimate=estimate)


@command(app, "describe", OUTPUT_OPTIONS, TARGET_OPTIONS, examples=("iacalls db describe call_records",))
def describe(run: Invocation, table: TableName) -> None:
    """Show a table's columns, keys, indexes, triggers and comments, as psql's describe command does."""
    from iacalls_cli.commands.db.describe import describe_table

    describe_table(run, table)


@command(
    app, "shell", QUIET_OPTIONS, TARGET_OPTIONS, examples=("iacalls db shell", "iacalls db shell --profile staging")
)
def shell(run: Invocation) -> None:
    """Open psql on the target: the installed one, else the one that comes with the embedded server.

    psql gets the target as it is, without the limits of iacalls's own sessions; the password
    travels in its environment, not in its arguments.
    """
    from iacalls_cli.commands.db.shell import open_psql

    open_psql(run)


@command(
    app,
    "diagram",
    QUIET_OPTIONS,
    TARGET_OPTIONS,
    examples=(
        "iacalls db diagram",
        "iacalls db diagram -o mermaid",
    ),
)
def diagram(
    run: Invocation,
    output: Annotated[
        DiagramFormat,
        typer.Option("--output", "-o", metavar="FORMAT", help="text, mermaid (for Markdown) or dot (for Graphviz)."),
    ] = DiagramFormat.TEXT,
) -> None:
    """Draw the relations between the tables of the live database."""
    from iacalls_cli.commands.db.diagram import draw_diagram

    draw_diagram(run, output.value)
