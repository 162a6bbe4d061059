"""`maintain cleanup` against the document's single DELETE and against batches of 10,000 rows by LIMIT.

Each way gets a fresh copy of the same database. Beside it runs the application's polling load, whose
99th percentile is compared with that of the same load undisturbed, just before.
"""

import contextlib
import json
import os
import random
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

import psycopg

from benchmarks.startup import IACALLS
from benchmarks.timing import Comparison, print_table

SESSIONS, POLLS_PER_SECOND, UNDISTURBED_SECONDS = 4, 25, 6.0
JOBS = {
    "whatsapp": ("whatsapp_conversations", "created_at < {cut}"),
    "failed-calls": ("call_records", "status = 'failed' AND created_at < {cut}"),
}
ONE = """UPDATE public.call_records SET call_ended_at = now(), full_transcript = '[]'
          WHERE batch_call_id = %s AND phone_number = %s"""
BATCH = "UPDATE public.batch_calls SET completed_calls = completed_calls + 1 WHERE id = %s"
LOOK = "SELECT status, count(*) FROM public.call_records WHERE batch_call_id = %s GROUP BY status"


@dataclass
class Measured:
    """One way's run: seconds in all and of them VACUUM's, the longest transaction, WAL bytes, p99 ratios."""

    seconds: float
    vacuum: float
    longest: float
    wal: int = 0
    quiet: float = 0.0
    busy: float = 0.0


@dataclass
class Load:
    """The polling load of some sessions on the calls of running batches; keeps each statement's seconds."""

    dsn: str
    calls: list
    latencies: list = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def poll(self, seed):
        """What a viewer of a running batch has the application do, again and again."""
        chance = random.Random(seed)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self.stop.wait(chance.uniform(0.5, 1.5) / POLLS_PER_SECOND):
                batch, phone = chance.choice(self.calls)
                for statement, values in ((ONE, (batch, phone)), (BATCH, (batch,)), (LOOK, (batch,))):
                    began = time.perf_counter()
                    connection.execute(statement, values)
                    self.latencies.append(time.perf_counter() - began)

    def p99(self):
        """The 99th percentile since last asked."""
        taken, self.latencies = self.latencies, []
        return statistics.quantiles(taken, n=100)[98]


@contextlib.contextmanager
def polling(dsn):
    """The load at work."""
    with psycopg.connect(dsn) as connection:
        calls = connection.execute(
            "SELECT batch_call_id, phone_number FROM public.call_records WHERE batch_call_id IN"
            " (SELECT id FROM public.batch_calls ORDER BY id DESC LIMIT 20)"
        ).fetchall()
    load = Load(dsn, calls)
    threads = [threading.Thread(target=load.poll, args=[seed]) for seed in range(SESSIONS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def copy_of(dsn, base):
    """A fresh copy of a database, in the system's memory, with nothing to be written back."""
    name = f"{base}_copy"
    with psycopg.connect(dsn, autocommit=True) as maintenance:
        strategy = " STRATEGY FILE_COPY" if maintenance.info.server_version >= 150_000 else ""
        maintenance.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {base}{strategy}")
        own = psycopg.conninfo.make_conninfo(dsn, dbname=name)
        with psycopg.connect(own, autocommit=True) as connection:
            for table, _ in JOBS.values():
                connection.execute(f"SELECT count(*) FROM public.{table} WHERE created_at IS NULL")
            connection.execute("CHECKPOINT")
        try:
            yield own
        finally:
            maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


def single(own, job, cut, _):
    """The document's DELETE."""
    table, where = JOBS[job]
    with psycopg.connect(own, autocommit=True) as connection:
        began = time.perf_counter()
        connection.execute(f"DELETE FROM public.{table} WHERE {where.format(cut=cut)}")
        seconds = time.perf_counter() - began
        connection.execute(f"VACUUM (ANALYZE) public.{table}")
        return Measured(time.perf_counter() - began, time.perf_counter() - began - seconds, seconds)


def limited(own, job, cut, _):
    """10,000 rows at a time, found by LIMIT."""
    table, where = JOBS[job]
    statement = f"DELETE FROM public.{table} WHERE id IN (SELECT id FROM public.{table} WHERE {where.format(cut=cut)} LIMIT 10000)"
    with psycopg.connect(own, autocommit=True) as connection:
        began, longest, rows = time.perf_counter(), 0.0, 1
        while rows:
            one = time.perf_counter()
            rows = connection.execute(statement).rowcount
            longest = max(longest, time.perf_counter() - one)
        seconds = time.perf_counter() - began
        connection.execute(f"VACUUM (ANALYZE) public.{table}")
        return Measured(time.perf_counter() - began, time.perf_counter() - began - seconds, longest)


def ours(*options):
    """`iacalls maintain cleanup` as a whole process, its plan and its VACUUM included."""

    def run(own, job, _, days):
        with tempfile.TemporaryDirectory(prefix="iacalls-bench-") as home:
            name = psycopg.conninfo.conninfo_to_dict(own)["dbname"]
            command = [
                IACALLS,
                "maintain",
                "cleanup",
                "--only",
                job,
                "--days",
                str(days),
                "--failed-call-days",
                str(days),
            ]
            environment = {**os.environ, "IACALLS_DSN": own, "XDG_DATA_HOME": home}
            began = time.perf_counter()
            done = subprocess.run(
                [*command, *options, "--confirm", name, "-q", "-o", "json"],
                env=environment,
                capture_output=True,
                check=True,
            )
            seconds = time.perf_counter() - began
        answer = json.loads(done.stdout)
        row = next(row for row in answer["data"] if row["rule"] == job)
        return Measured(seconds, answer["run"]["vacuum_seconds"], row["longest_ms"] / 1000)

    return run


WAYS = {
    "single DELETE": single,
    "10,000 rows by LIMIT": limited,
    "cleanup --no-archive --pause 0s": ours("--no-archive", "--pause", "0s"),
    "cleanup --no-archive": ours("--no-archive"),
    "cleanup --pause 0s": ours("--pause", "0s"),
    "cleanup": ours(),
}


def measure_way(dsn, base, way, job, days):
    """One run of one way on a copy of its own, with the load beside it."""
    with copy_of(dsn, base) as own, polling(own) as load:
        cut = f"now()::timestamp - interval '{days} days'"
        time.sleep(1)
        load.p99()
        time.sleep(UNDISTURBED_SECONDS)
        quiet = load.p99()
        with psycopg.connect(own, autocommit=True) as connection:
            before = connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
            measured = way(own, job, cut, days)
            busy = load.p99()
            measured.wal = connection.execute("SELECT pg_current_wal_lsn() - %s::pg_lsn", [before]).fetchone()[0]
        measured.quiet, measured.busy = quiet, busy
        return measured


def measure(dsn, make_database, scale, runs):
    """Print the tables."""
    base = "iacalls_bench_cleanup"
    own = make_database(dsn, base, scale)
    for job, (table, where) in JOBS.items():
        status = where.partition("created_at")[0]
        with psycopg.connect(own) as connection:
            # So old that about 92 % of all conversations are; of the calls, every failed one of then.
            days, total = connection.execute(
                f"SELECT ceil(extract(epoch FROM now()::timestamp - percentile_disc(0.92) WITHIN GROUP (ORDER BY created_at))"
                f" / 86400)::int, count(*) FROM public.{table}"
            ).fetchone()
            old = connection.execute(
                f"SELECT count(*) FROM public.{table} WHERE {status} created_at < now()::timestamp - interval '{days} days'"
            ).fetchone()[0]
        print(f"\n### {job}: {old:,} of {total:,} rows of {table}, older than {days} days")
        found = {name: [] for name in WAYS}
        for _ in range(min(runs, 3)):
            for name, way in WAYS.items():
                found[name].append(measure_way(dsn, base, way, job, days))
        print_measured(found)
        middle = {name: median(several) for name, several in found.items()}
        compare(middle)


def median(several):
    """The median of each number of several runs."""
    names = ("seconds", "vacuum", "longest", "wal", "quiet", "busy")
    return Measured(**{name: statistics.median(getattr(one, name) for one in several) for name in names})


def print_measured(found):
    """What was measured, medians, as a Markdown table."""
    print(
        "\n| way | without VACUUM | with VACUUM | longest transaction | WAL | p99 undisturbed | p99 meanwhile | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, several in found.items():
        one = median(several)
        print(
            f"| {name} | {one.seconds - one.vacuum:.2f} s | {one.seconds:.2f} s | {one.longest * 1000:,.0f} ms "
            f"| {one.wal / 2**20:,.0f} MB | {one.quiet * 1000:.1f} ms | {one.busy * 1000:.1f} ms | {one.busy / one.quiet:.1f} |",
            flush=True,
        )


def compare(middle):
    """Ours against the others, with the targets."""
    one = middle["single DELETE"]
    rows = []
    for name, target in (("cleanup --no-archive --pause 0s", 1.1), ("cleanup --pause 0s", 2.0)):
        mine = middle[name]
        rows += [
            Comparison(
                f"{name}, VACUUM apart", mine.seconds - mine.vacuum, one.seconds - one.vacuum, "single DELETE", target
            ),
            Comparison(f"{name}, with VACUUM", mine.seconds, one.seconds, "DELETE, VACUUM (ANALYZE)", None),
        ]
    rows.append(
        Comparison(
            "cleanup --no-archive",
            middle["cleanup --no-archive"].seconds,
            middle["10,000 rows by LIMIT"].seconds,
            "by LIMIT",
            None,
        )
    )
    print_table("Against the others", rows)
