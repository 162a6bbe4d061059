"""The application's load while maintenance runs: the poll loop's updates, inserts, reads, and what waits for what."""

import os
import threading
import time
from types import TracebackType
from typing import Self

import psycopg

from tests.support.servers import OWNER, TestServer

MANY_ROWS = """INSERT INTO public.whatsapp_conversations (phone_number, conversation_summary)
               SELECT '+57' || g, repeat('x', 200) FROM generate_series(1, 4000) AS g"""
BATCHES, CALLS = 6, 40
BATCH = "INSERT INTO public.batch_calls (batch_id, status) VALUES (%s, 'in_progress') RETURNING id"
CALL = """INSERT INTO public.call_records (batch_call_id, phone_number, status, call_duration_secs)
          SELECT %s, '+57' || g, 'in_progress', 0 FROM generate_series(1, %s) AS g"""
POLL = """UPDATE public.call_records
             SET call_duration_secs = call_duration_secs + 1, call_ended_at = now(),
                 full_transcript = jsonb_build_array(jsonb_build_object('role', 'agent', 'message', repeat('x', 300)))
           WHERE batch_call_id = %s AND phone_number = %s"""
WAITS = """SELECT a.application_name, l.mode, extract(epoch FROM clock_timestamp() - l.waitstart)::float8
             FROM pg_locks AS l
             JOIN pg_stat_activity AS a USING (pid)
            WHERE NOT l.granted AND a.application_name = 'backend' AND a.datname = current_database()"""
COUNTED = """SELECT batch_call_id, sum(call_duration_secs)::integer FROM public.call_records
              WHERE batch_call_id = ANY(%s) GROUP BY 1"""


class LiveLoad:
    """Runs while the block runs; afterwards `errors`, `waits` (seconds), and whether an update was lost."""

    def __init__(self, server: TestServer, database: str) -> None:
        self.server, self.database = server, database
        self.errors: list[BaseException] = []
        self.waits: list[float] = []
        self.updates: dict[int, int] = {}
        self.slowest = 0.0
        self.done = threading.Event()
        with self.connect() as connection:
            self.batches = [connection.execute(BATCH, [f"carga-{n}"]).fetchone()[0] for n in range(BATCHES)]
            for batch in self.batches:
                connection.execute(CALL, [batch, CALLS])

    def connect(self) -> psycopg.Connection:
        connection = self.server.connect(self.database, OWNER)
        connection.execute("SET application_name = 'backend'")
        return connection

    def __enter__(self) -> Self:
        works = [lambda half=half: self.poll(self.batches[half::2]) for half in (0, 1)]
        self.threads = [threading.Thread(target=self.guard, args=(work,)) for work in (*works, self.read, self.sample)]
        for thread in self.threads:
            thread.start()
        time.sleep(0.3)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(0.3)
        self.done.set()
        for thread in self.threads:
            thread.join()

    def guard(self, work) -> None:
        try:
            work()
        except BaseException as error:
            self.errors.append(error)

    def poll(self, batches: list[int]) -> None:
        """What one viewer's page does every three seconds, without the pause."""
        with self.connect() as connection:
            number = 0
            while not self.done.is_set():
                number += 1
                for batch in batches:
                    self.timed(connection, POLL, [batch, f"+57{number % CALLS + 1}"])
                    self.updates[batch] = self.updates.get(batch, 0) + 1
                connection.execute(
                    "INSERT INTO public.whatsapp_conversations (phone_number) VALUES (%s)", [str(number)]
                )
                self.done.wait(0.005)

    def read(self) -> None:
        with self.connect() as connection:
            while not self.done.is_set():
                self.timed(connection, "SELECT * FROM public.call_records WHERE batch_call_id = %s", self.batches[:1])
                self.done.wait(0.01)

    def timed(self, connection: psycopg.Connection, statement: str, values: list) -> None:
        began = time.monotonic()
        connection.execute(statement, values)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def sample(self) -> None:
        with self.server.connect(self.database) as connection:
            while not self.done.is_set():
                self.waits += [row[2] for row in connection.execute(WAITS) if row[2] is not None]
                self.done.wait(0.02)

    def check(self, longest: float) -> None:
        """No error, no lost update, and nobody waited for a lock for as long as that."""
        assert not self.errors
        assert sum(self.updates.values()) > 20
        with self.connect() as connection:
            assert dict(connection.execute(COUNTED, [self.batches]).fetchall()) == self.updates
        assert max(self.waits, default=0) < longest
        assert self.slowest < longest


def wait_until(condition, seconds=30):
    """What a condition gives, when it is something."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.02)
    return found


def environment(server: TestServer, database: str) -> dict[str, str]:
    """The environment of a command on that database, as its owner."""
    return {**os.environ, "IACALLS_DSN": server.dsn(database, OWNER)}
