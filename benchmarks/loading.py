"""Loading sample data: rows a second, and memory at two scales."""

import subprocess
import sys
from datetime import datetime

from benchmarks.timing import Comparison, peak_memory, print_table

ANCHOR = datetime(2025, 11, 30, 12)  # noqa: DTZ001, the schema's timestamps have no zone
SCRIPT = """
import sys
from benchmarks.__main__ import make_database
make_database(sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""


def measure(dsn, make_database, scale, runs):
    """Print the table."""
    measured = {}
    for name, part in (("few", scale / 10), ("many", scale)):
        database = f"iacalls_load_{name}"
        measured[name] = peak_memory([sys.executable, "-c", SCRIPT, dsn, database, str(part)])
        subprocess.run(["psql", "-X", "-q", dsn, "-c", f"DROP DATABASE {database}"], check=True)
    seconds, calls = measured["many"][0], round(5000 * scale)
    print(f"\n{calls:,} calls and what belongs to them: {seconds:.0f} s, {calls / seconds:,.0f} calls a second")
    rows = [
        Comparison(
            f"peak memory at scale {scale:g}",
            measured["many"][1],
            measured["few"][1],
            f"scale {scale / 10:g}",
            1.1,
            "MB",
        )
    ]
    print_table("Loading sample data", rows)
