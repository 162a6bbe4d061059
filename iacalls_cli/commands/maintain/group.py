"""The group `iacalls maintain`, and the options its commands share."""

from pathlib import Path
from typing import Annotated

import typer

from iacalls_cli import options
from iacalls_cli.errors import IacallsError
from iacalls_cli.group import Group

app = typer.Typer(
    name="maintain",
    cls=Group,
    help="Clean, vacuum, analyze and reindex while the application goes on.",
    no_args_is_help=True,
    add_completion=False,
)


def complete_rules() -> list[str]:
    """The rules of a cleanup, for completion."""
    from iacalls_cli.config.file import load_config
    from iacalls_cli.config.maintain import BUILT_IN

    try:
        return [*BUILT_IN, *load_config().maintain.rules]
    except IacallsError:  # nothing may be written into a half-typed command line
        return list(BUILT_IN)


def complete_runs() -> list[str]:
    """The cleanups with an archive in the default folder, for completion."""
    from iacalls_cli.commands.maintain.archive_folder import open_archives

    try:
        return [archive.id for archive in open_archives(None).all()]
    except IacallsError:  # see above
        return []


def complete_tables() -> list[str]:
    """The tables of the documented schema, for completion; a view has nothing to maintain."""
    from iacalls_cli.operations.db.expected import expected_catalogue

    return sorted(key.relation for key in expected_catalogue() if key.kind == "table")


def complete_indexes() -> list[str]:
    """The tables of the documented schema, then its indexes, for completion."""
    from iacalls_cli.operations.db.expected import expected_catalogue

    kinds = ("index", "primary key", "unique")
    return [*complete_tables(), *sorted(key.name for key in expected_catalogue() if key.kind in kinds)]


Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        metavar="DIR",
        parser=options.read_directory,
        help="The folder of archives, instead of the configured one.",
    ),
]
