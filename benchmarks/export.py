r"""Export of a million rows as CSV against psql's \\copy, and the memory of both sizes."""

import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.startup import IACALLS
from benchmarks.timing import Comparison, peak_memory, print_table

COLUMNS = "id, phone_number, client_name, conversation_summary, status, sent_at, created_at"


def measure(dsn, make_database, scale, runs):
    """Print the table."""
    own = make_database(dsn, "iacalls_bench", scale)
    psql = shutil.which("psql")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "export.sql"
        file.write_text(
            "-- WhatsApp messages, all.\n-- param: most integer = null -- at most this many\n"
            f"SELECT {COLUMNS} FROM whatsapp_conversations ORDER BY id LIMIT :most"
        )
        export = [IACALLS, "report", "run", str(file), "-q", "-o"]
        environment = {"IACALLS_DSN": own}
        copy = [
            psql,
            "-X",
            own,
            "-c",
            f"\\copy (SELECT {COLUMNS} FROM whatsapp_conversations ORDER BY id) TO STDOUT CSV HEADER",
        ]
        pairs = [(peak_memory([*export, "csv"], environment), peak_memory(copy)) for _ in range(runs)]
        ours, other = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        rows = [Comparison("export as CSV", ours, other, "psql \\copy", 2)]
        for output in ("csv", "json", "jsonl"):
            few = peak_memory([*export, output, "--param", "most=10000"], environment)[1]
            many = peak_memory([*export, output], environment)[1]
            rows.append(Comparison(f"peak memory, {output}, all rows", many, few, "10,000 rows", 1.1, "MB"))
    print_table("Export", rows)
