"""Whole processes: start-up, completion, and one report, against bare Python, psql and pgcli."""

import os
import shutil
import sys
from pathlib import Path

from benchmarks.timing import Comparison, alternate, print_table, process

IACALLS = str(Path(sys.prefix) / "bin" / "iacalls")
GROUPS = (Path(__file__).parent.parent / "tests" / "documented" / "groups.sql").read_text()


def complete(words):
    """The environment of a Tab key pressed in bash behind these words."""
    return {"_IACALLS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}


def measure(dsn, make_database, scale, runs):
    """Print the table. pgcli is measured where PGCLI names it or PATH has it."""
    own = make_database(dsn, "iacalls_start", 1)
    runs *= 5
    bare = process([sys.executable, "-c", "pass"])
    version = process([IACALLS, "--version"])
    report = process([IACALLS, "report", "groups"], {"IACALLS_DSN": own})
    rows = []

    def compare(job, ours, other, name, target):
        rows.append(Comparison(job, *alternate(ours, other, runs), name, target))

    compare("`iacalls --version`", version, bare, "bare python", 5)
    for words in ("iacalls ", "iacalls report ", "iacalls report calls --s", "iacalls db describe call"):
        compare(f"Tab behind `{words}`", process([IACALLS], complete(words)), version, "`iacalls --version`", 1)
    compare("`iacalls --help`", process([IACALLS, "--help"]), bare, "bare python", None)
    if psql := shutil.which("psql"):
        compare("`iacalls report groups`", report, process([psql, "-X", own, "-c", GROUPS]), "psql -c", None)
    if pgcli := os.environ.get("PGCLI") or shutil.which("pgcli"):
        environment = {"HOME": os.environ.get("HOME", "/"), "PAGER": "cat"}
        compare("`iacalls report groups`", report, process([pgcli, own, "-c", GROUPS], environment), "pgcli -c", 0.6)
    print_table("Start-up", rows)
