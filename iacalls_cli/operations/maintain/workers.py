"""Work in sessions of its own, a thread each, looked after from another session all the while.

What looks after it says how far it is, remembers whom it waits for, and makes way: where another
session waits behind one of ours with a lock that reads or writes would have to wait behind in turn,
ours is cancelled, as the server itself does with autovacuum, and tried again later.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.maintain.locks import name_holder, name_session
from iacalls_cli.queries import load_query

LOOK_SECONDS = 0.2
CANCEL_SECONDS = 2.0
# How long an interrupted command waits for its sessions to end; a server that does not answer is left to itself.
LEAVE_SECONDS = 15.0

# After so many looks that met the same session in the way, that is told.
TOLD_LOOKS = 10

Progress = Callable[[str, int, int], None]
Tell = Callable[[str], None]
Task = TypeVar("Task")
Result = TypeVar("Result")


def silent(words: str) -> None:
    """Who tells nobody anything."""


@dataclass
class Worker(Generic[Task]):
    """A session that works. `task` is what it is at; `yielded_to` names for whom it was cancelled last."""

    connection: Connection
    pid: int
    stopping: threading.Event
    task: Task | None = None
    waits_for: str = ""
    looks: int = 0
    yielded_to: str = ""

    def pause(self, seconds: float) -> None:
        """Wait, but not when everything is to end."""
        self.stopping.wait(seconds)

    def cancelled_for(self) -> str:
        """For whom we cancelled a statement that is to be tried again; '' for nobody."""
        return "" if self.stopping.is_set() else self.yielded_to


Work = Callable[[Worker[Task], Task], Result]


@dataclass
class ProgressMonitor:
    """A session that looks after workers.

    Unless it `yields`, others wait behind them as long as it takes. `show` is told of each task
    how far it is, `tell` of each that waits for somebody for a while.
    """

    connection: Connection
    progress_query: str
    show: Callable[[Any, str, int, int], None]
    tell: Tell = silent
    yields: bool = True

    def look(self, workers: "Sequence[Worker[Task]]") -> None:
        """One look at everybody who works."""
        busy = {worker.pid: worker for worker in workers if worker.task is not None}
        if not busy:
            return
        sessions = {"sessions": "{" + ",".join(map(str, busy)) + "}"}
        for row in fetch(self.connection, load_query(self.progress_query), sessions):
            if (task := busy[row["pid"]].task) is not None:
                self.show(task, row["phase"], row["done"], row["total"])
        self.remember_blockers(busy, sessions)
        if self.yields:
            self.yield_to_waiting(busy, sessions)

    def remember_blockers(self, busy: dict[int, Worker[Task]], sessions: dict[str, str]) -> None:
        """Note whom each worker waits for: afterwards, nobody knows."""
        for row in fetch(self.connection, load_query("maintain/blockers"), sessions):
            worker = busy[row["pid"]]
            words = name_holder(row)
            worker.looks = worker.looks + 1 if words == worker.waits_for else 0
            worker.waits_for = words
            if worker.looks == TOLD_LOOKS:
                self.tell(f"{worker.task} waits for {words}")

    def yield_to_waiting(self, busy: dict[int, Worker[Task]], sessions: dict[str, str]) -> None:
        """Cancel what others wait behind for too long."""
        for row in fetch(self.connection, load_query("maintain/waiting-behind"), sessions):
            worker = busy[row["pid"]]
            worker.yielded_to = name_session(str(row["waiter"]), row["application"] or row["role"], None)
            cancel(worker.connection)


def run_watched(
    connections: Sequence[Connection], tasks: Iterable[Task], work: "Work[Task, Result]", watch: ProgressMonitor
) -> Generator[Result, None, None]:
    """Do every task in one of the sessions, and hand over each result as it comes.

    What a task raises is raised here; then, and at an interrupt, the statements that run are
    cancelled and their threads waited for before it goes on its way.
    """
    waiting, results = deque(tasks), queue.SimpleQueue[Result | BaseException]()
    stopping = threading.Event()
    workers = [Worker[Task](connection, connection.info.backend_pid, stopping) for connection in connections]
    remaining = len(waiting)

    def keep_working(worker: Worker[Task]) -> None:
        while not stopping.is_set():
            try:
                worker.task = waiting.popleft()
            except IndexError:
                return
            worker.waits_for = worker.yielded_to = ""
            try:
                results.put(work(worker, worker.task))
            except BaseException as error:  # it is raised where the results are awaited
                results.put(error)
                return
            finally:
                worker.task = None

    with threads(keep_working, workers, stopping):
        while remaining:
            try:
                result = results.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                watch.look(workers)
                continue
            if isinstance(result, BaseException):
                raise result
            remaining -= 1
            yield result


@contextmanager
def threads(
    work: Callable[[Worker[Task]], None], workers: Sequence[Worker[Task]], stopping: threading.Event
) -> Iterator[None]:
    """Threads that work while the block runs. When it is left early, what they run is cancelled."""
    running = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        until = time.monotonic() + LEAVE_SECONDS
        while any(thread.is_alive() for thread in running) and time.monotonic() < until:
            for worker, thread in zip(workers, running, strict=True):
                if thread.is_alive() and worker.task is not None:
                    cancel(worker.connection)
                thread.join(LOOK_SECONDS)


def cancel(connection: Connection) -> None:
    """Ask the server to end what a session of ours runs."""
    with suppress(psycopg.Error):  # it has ended already, or the server does not answer
        connection.cancel_safe(timeout=CANCEL_SECONDS)
