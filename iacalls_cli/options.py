"""The options that commands share, declared once."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from iacalls_cli.errors import IacallsError
from iacalls_cli.output.write import Format

TARGET_PANEL = "Target and output"
WRITE_PANEL = "Before anything is written"


def complete_profiles() -> list[str]:
    """The profiles of the config files, for completion."""
    from iacalls_cli.config.file import load_config

    try:
        return list(load_config().profiles)
    except IacallsError:  # nothing may be written into a half-typed command line
        return []


def complete_tables() -> Iterable[str]:
    """The tables and views of the documented schema, for completion: no database is asked."""
    from iacalls_cli.operations.db.catalog import expected_relations

    return expected_relations()


def read_directory(text: str) -> Path:
    """The folder an option names; an empty one is a variable that was not set in a script, not this folder."""
    if not text:
        raise typer.BadParameter("the folder's name is empty")
    return Path(text)


Dsn = Annotated[
    str | None,
    typer.Option(
        "--dsn",
        metavar="DSN",
        help="The database: a URI, a conninfo string, service=NAME, or embedded.",
        rich_help_panel=TARGET_PANEL,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="A profile of the config file.",
        autocompletion=complete_profiles,
        rich_help_panel=TARGET_PANEL,
    ),
]
Output = Annotated[
    Format,
    typer.Option(
        "--output",
        "-o",
        metavar="FORMAT",
        help="How to write the answer to stdout: table, json, jsonl, csv, tsv, markdown or html.",
        rich_help_panel=TARGET_PANEL,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.", rich_help_panel=TARGET_PANEL)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.", rich_help_panel=TARGET_PANEL)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan and change nothing.", rich_help_panel=WRITE_PANEL)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to y/N questions.", rich_help_panel=WRITE_PANEL)]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="NAME",
        help="Agree, without a terminal, to what asks for the database's name: that name.",
        rich_help_panel=WRITE_PANEL,
    ),
]
TimeZone = Annotated[
    str,
    typer.Option(
        "--tz", metavar="ZONE", help="The time zone of 'today' and of dates without one, like America/Bogota."
    ),
]
TableName = Annotated[str, typer.Argument(metavar="TABLE", help="A table or view.", autocompletion=complete_tables)]
