"""The user's own query folder, and the reports in it."""

import os
from pathlib import Path

from iacalls_cli import diagnostics
from iacalls_cli.config.file import load_config
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.report import report_names


def queries_folder() -> Path | None:
    """The user's own query folder, from the config file."""
    return load_config().queries_folder


def known_reports() -> list[str]:
    """Report names, for the help and for completion; a folder that is no good costs only its own."""
    try:
        return report_names(queries_folder())
    except IacallsError as error:
        if "_IACALLS_COMPLETE" not in os.environ:  # nothing may be written into a half-typed command line
            diagnostics.warning(f"{error.message}. {error.hint}")
        return report_names(None)
