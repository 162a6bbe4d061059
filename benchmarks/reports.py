"""The reports against the documented SQL, the result transferred whole and looked at by no one."""

from pathlib import Path

import psycopg

from benchmarks.timing import Comparison, alternate, print_table
from iacalls_cli.database.connection import REPORTING, Connection, apply_settings
from iacalls_cli.operations.report import bind_values, find_report
from iacalls_cli.values import make_clock

DOCUMENTED = Path(__file__).parent.parent / "tests" / "documented"
SLOW = ("calls", "top-clients", "durations")
NAMES = ("groups", *SLOW, "whatsapp", "stats", "group-statistics", "client-history", "batch-statistics")
INDEX = "CREATE INDEX {} ON call_records (batch_call_id) INCLUDE (call_duration_secs)"


def measure(dsn, make_database, scale, runs):
    """Print the table."""
    own = make_database(dsn, "iacalls_bench", scale)
    with psycopg.connect(own, autocommit=True) as documented, Connection.connect(own, autocommit=True) as ours:
        apply_settings(ours, read_only=True, limits=REPORTING)
        rows = [compare(name, documented, ours, runs) for name in NAMES]
        with psycopg.connect(own, autocommit=True) as writer:
            writer.execute(INDEX.format("bench_durations"))
            writer.execute("VACUUM (ANALYZE) call_records")
            rows.append(compare("durations", documented, ours, runs, ", with the covering index"))
            writer.execute("DROP INDEX bench_durations")
    print_table("Reports against the documented SQL", rows)


def compare(name, documented, ours, runs, note=""):
    """One report."""
    query = find_report(name, None)
    given = {"client_id": 1} if name == "client-history" else {}
    values = [None if value is None else str(value).encode() for value in query.arguments(
        bind_values(query, given, make_clock("UTC")))]  # fmt: skip
    text, statement = (DOCUMENTED / f"{name}.sql").read_bytes(), query.statement.encode()

    def run_ours():
        check(ours.pgconn.exec_params(statement, values))

    def run_documented():
        check(documented.pgconn.exec_(text))

    target = 1 / 5 if name in SLOW else 1 / 3
    return Comparison(f"`report {name}`{note}", *alternate(run_ours, run_documented, runs), "documented", target)


def check(result):
    """Fail where the server did."""
    if result.status != psycopg.pq.ExecStatus.TUPLES_OK:
        raise RuntimeError(result.error_message.decode())
