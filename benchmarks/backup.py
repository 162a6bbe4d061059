"""Backups and restores against pg_dump and pg_restore, and the memory of both sizes.

The data set has transcripts as varied as speech: the sample data's own compress ten to one, and
then pg_dump's time is the server's.
"""

import contextlib
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import psycopg

from benchmarks.speech import vary_transcripts
from benchmarks.startup import IACALLS
from benchmarks.timing import Comparison, peak_memory, print_table, time_once
from iacalls_cli.database.programs import choose_programs

JOBS = 2


def measure(dsn, make_database, scale, runs):
    """Print the tables."""
    runs = min(runs, 3)
    large, small = (
        make_database(dsn, f"iacalls_bench_{name}", size) for name, size in (("3gb", scale), ("300mb", scale / 10))
    )
    for own in (large, small):
        vary_transcripts(own)
    with psycopg.connect(dsn) as connection:
        programs = choose_programs(connection.info.server_version // 10_000)
    with tempfile.TemporaryDirectory(prefix="iacalls-bench-") as name:
        folder = Path(name)
        measure_create(large, small, programs.folder, folder, runs)
        measure_restore(dsn, large, programs.folder, folder, runs)


def dump(programs, own, folder, *options):
    """pg_dump into a file or folder that is removed first; returns seconds and its size in bytes."""
    target = folder / "dump"
    remove(target)
    seconds = time_once(lambda: subprocess.run([programs / "pg_dump", *options, "-f", target, own], check=True))
    return seconds, size_of(target)


def create(own, folder, *options):
    """`iacalls backup create` as a whole process; returns seconds, size in bytes and peak megabytes."""
    store = folder / "store"
    remove(store)
    command = [IACALLS, "backup", "create", "-q", "--jobs", str(JOBS), "--directory", store, *options]
    seconds, megabytes = peak_memory(command, {"IACALLS_DSN": own, "XDG_DATA_HOME": str(folder)})
    return seconds, size_of(store), megabytes


def measure_create(large, small, programs, folder, runs):
    """Ours, with read-back and checksums, in turn with each way of pg_dump."""
    others = {
        "pg_dump -Fc": ("-Fc",),
        "pg_dump -Fd -j2": ("-Fd", "-j2"),
        "pg_dump -Fd -j2 -Z1": ("-Fd", "-j2", "-Z1"),
        "pg_dump -Fp": ("-Fp",),
    }
    create(small, folder)
    ours, theirs, directory = [], {name: [] for name in others}, []
    for _ in range(runs):
        ours.append(create(large, folder))
        directory.append(create(large, folder, "--format", "directory"))
        for name, options in others.items():
            theirs[name].append(dump(programs, large, folder, *options))
    median = lambda figures, part: statistics.median(figure[part] for figure in figures)  # noqa: E731, short here
    rows = [
        Comparison("create", median(ours, 0), median(figures, 0), name, 1 / 3 if name == "pg_dump -Fc" else None, "s")
        for name, figures in theirs.items()
    ]
    rows += [
        Comparison(
            "create --format directory",
            median(directory, 0),
            median(theirs["pg_dump -Fc"], 0),
            "pg_dump -Fc",
            None,
            "s",
        ),
        Comparison("size", ours[0][1] / 1e6, theirs["pg_dump -Fc"][0][1] / 1e6, "pg_dump -Fc", 1, "MB"),
        Comparison("size, directory", directory[0][1] / 1e6, theirs["pg_dump -Fc"][0][1] / 1e6, "pg_dump -Fc", 1, "MB"),
    ]
    few = create(small, folder)
    rows.append(Comparison("peak memory, 3 GB", median(ours, 2), few[2], "0.3 GB", 1.1, "MB"))
    print_table("Backup", rows)


def measure_restore(dsn, large, programs, folder, runs):
    """Ours, with the comparison of rows, in turn with pg_restore of pg_dump's own archive."""
    dump(programs, large, folder, "-Fc")
    create(large, folder)
    environment = {"IACALLS_DSN": large, "XDG_DATA_HOME": str(folder)}
    ours, theirs, memory = [], [], []
    for _ in range(runs):
        for name in ("bench_ours", "bench_theirs"):
            drop(dsn, name)
        command = [IACALLS, "backup", "restore", "newest", "-q", "--directory", folder / "store"]
        seconds, megabytes = peak_memory([*command, "--into", "bench_ours", "--jobs", str(JOBS)], environment)
        ours.append(seconds)
        memory.append(megabytes)
        drop(dsn, "bench_ours")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench_theirs TEMPLATE template0")
        target = psycopg.conninfo.make_conninfo(dsn, dbname="bench_theirs")
        restore = [programs / "pg_restore", f"-j{JOBS}", "-d", target, folder / "dump"]
        theirs.append(time_once(lambda command=restore: subprocess.run(command, check=True)))
        drop(dsn, "bench_theirs")
    rows = [
        Comparison("restore", statistics.median(ours), statistics.median(theirs), f"pg_restore -j{JOBS}", 1.1, "s"),
        Comparison("peak memory of restore", statistics.median(memory), 150, "the limit", 1, "MB"),
    ]
    print_table("Restore", rows)


def drop(dsn, name):
    """Drop a database."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def remove(path):
    """Remove a file or folder, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def size_of(path):
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
