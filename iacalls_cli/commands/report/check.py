"""`iacalls report check`."""

from iacalls_cli.commands.invocation import Invocation
from iacalls_cli.commands.report.folder import queries_folder
from iacalls_cli.errors import ProblemsFound
from iacalls_cli.operations.report import CheckedReport, check_reports
from iacalls_cli.table import table_of


def check_all(run: Invocation) -> None:
    """Have the target prepare every report; raise `ProblemsFound` where one cannot be."""
    folder = queries_folder()
    with run.session() as session:
        checked = check_reports(session.connection, folder)
    run.write(table_of(CheckedReport, checked))
    broken = sum(report.state != "ok" for report in checked)
    if broken:
        raise ProblemsFound(
            f"{broken} of {len(checked)} reports cannot run here", f"{run.repeat('db verify')} compares the schema"
        )
