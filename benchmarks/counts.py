"""Row counts and the drift check."""

from pathlib import Path

import psycopg

from benchmarks.timing import Comparison, alternate, print_table
from iacalls_cli.database.connection import REPORTING, Connection, apply_settings
from iacalls_cli.operations.db.catalog import expected_catalog, expected_relations
from iacalls_cli.operations.db.compare import compare as compare_catalogues
from iacalls_cli.operations.db.tables import count_rows
from iacalls_cli.operations.db.verify import read_catalog

DOCUMENTED = (Path(__file__).parent.parent / "tests" / "documented" / "row-counts.sql").read_text()
DRIFT_SECONDS = 0.150


def measure(dsn, make_database, scale, runs):
    """Print the tables."""
    own = make_database(dsn, "iacalls_bench", scale)
    tables = [name for name in expected_relations() if "statistics" not in name and name != "client_call_history"]
    rows = []
    with Connection.connect(own, autocommit=True) as connection, psycopg.connect(own, autocommit=True) as plain:
        apply_settings(connection, read_only=True, limits=REPORTING)
        try:
            plain.execute(DOCUMENTED)
        except psycopg.errors.FeatureNotSupported:
            print("\nThis server has no XML: the documented row counts cannot run on it.")
        else:
            times = alternate(
                lambda: count_rows(connection, tables), lambda: plain.execute(DOCUMENTED).fetchall(), runs
            )
            rows.append(Comparison("exact row counts of nine tables", *times, "query_to_xml", 0.7))

        def drift():
            compare_catalogues(expected_catalog(), read_catalog(connection))

        ours, _ = alternate(drift, lambda: None, runs)
        rows.append(Comparison("drift check, schema unchanged", ours, DRIFT_SECONDS, "the target,", 1))
    print_table("Row counts and drift", rows)
