"""How many jobs a backup and a restore use unless told."""

import os

DEFAULT_JOBS = 4


def usable_cores() -> int:
    """The cores this process may use, at most four: the database needs some too."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, DEFAULT_JOBS)
