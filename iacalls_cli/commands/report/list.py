"""`iacalls report list`."""

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.report.folder import queries_folder
from iacalls_cli.operations.report import Report, list_reports
from iacalls_cli.table import table_of


def list_all(run: Invocation) -> None:
    """List the reports."""
    run.write(table_of(Report, list_reports(queries_folder())))
