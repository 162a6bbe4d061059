"""Running pg_dump, its output compressed on all cores on the way to the disk."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from iacalls_cli.database.programs import Client, RunningProgram, widen_pipe
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.compression import Compression, compress_file, compressing
from iacalls_cli.operations.files import CHUNK_BYTES

# Called with a table, its rows so far, and all of them.
Progress = Callable[[str, int, int], None]
FORMATS = ("custom", "directory", "plain")
CONTENTS = {"full": (), "schema": ("--schema-only",), "data": ("--data-only",)}
# What the archive is called in a backup's folder, before the compression's suffix.
NAMES = {"custom": "dump.pgdump", "plain": "dump.sql", "directory": "dump"}
TOC = "toc.dat"
WATCH_SECONDS = 0.2


@dataclass(frozen=True)
class DumpPlan:
    """How to dump: contents full, schema or data; the format; the compression; how many at once."""

    contents: str
    format: str
    compression: Compression
    jobs: int
    lock_wait: str

    def arguments(self, snapshot: str) -> list[str]:
        """pg_dump's options, but for where it writes to."""
        level = self.compression.level if self.compression.method == "gzip" else 0
        arguments = [
            f"--format={self.format}",
            f"--compress={level}",
            f"--lock-wait-timeout={self.lock_wait}",
            "--no-password",
            "--no-sync",
            *CONTENTS[self.contents],
        ]
        if snapshot:
            arguments.append(f"--snapshot={snapshot}")
        if self.format == "directory":
            arguments.append(f"--jobs={self.jobs}")
        return arguments


def run_dump(client: Client, plan: DumpPlan, folder: Path, snapshot: str, watch: Callable[[], None]) -> dict[str, str]:
    """Dump into `folder`, calling `watch` over and over meanwhile.

    Returns the SHA-256 of the files that were hashed while they were written. Raises
    `IacallsError` with pg_dump's words, or with what the disk said; `watch` may raise too, which
    ends the dump.
    """
    target = folder / (NAMES[plan.format] + ("" if plan.format == "custom" else plain_suffix(plan)))
    arguments = [*plan.arguments(snapshot), client.conninfo]
    if plan.compression.method == "zstd" and plan.format != "directory":
        target = folder / (NAMES[plan.format] + ".zst")
        return {target.name: dump_compressed(client, arguments, target, plan, watch)}
    with private_files(), client.start("pg_dump", f"--file={target}", *arguments) as dump:
        while dump.process.poll() is None:
            watch()
            wait_a_moment(dump)
        dump.check()
    return {}


def compress_directory(plan: DumpPlan, folder: Path) -> dict[str, str]:
    """Compress the tables of a dump in directory format, where zstd is wanted; returns the files' SHA-256.

    Apart from the dump, so that the server need not keep its snapshot for that.
    """
    if plan.format != "directory" or plan.compression.method != "zstd":
        return {}
    target = folder / NAMES[plan.format]
    return {
        f"{target.name}/{path.name}.zst": compress_file(path, plan.compression.level, plan.jobs)
        for path in sorted(target.glob("*.dat"))
        if path.name != TOC
    }


def plain_suffix(plan: DumpPlan) -> str:
    """What pg_dump's own compression of a plain dump makes the name end in; a directory's files have it inside."""
    return plan.compression.suffix if plan.format == "plain" else ""


def dump_compressed(
    client: Client, arguments: list[str], target: Path, plan: DumpPlan, watch: Callable[[], None]
) -> str:
    """pg_dump into a pipe, and from there through zstd into a file; returns the file's SHA-256."""
    with (
        client.start("pg_dump", *arguments, stdout=subprocess.PIPE) as dump,
        compressing(target, plan.compression.level, plan.jobs) as (writer, digest),
    ):
        pump = Pump(dump, writer)
        pump.start()
        try:
            while pump.is_alive():
                watch()
                pump.join(WATCH_SECONDS)
        except BaseException:
            # The compressor is closed with this block, and two threads in it at once would crash.
            dump.stop()
            pump.join()
            raise
        if pump.failure is not None:
            raise pump.failure
        dump.check()
    return digest.hexdigest()


class Pump(threading.Thread):
    """Moves what a program writes to its stdout into a stream."""

    def __init__(self, program: RunningProgram, writer: IO[bytes]) -> None:
        super().__init__(daemon=True)
        assert program.process.stdout is not None  # noqa: S101, it was asked for
        self.source, self.writer = program.process.stdout, writer
        self.failure: Exception | None = None
        widen_pipe(self.source)

    def run(self) -> None:
        """Move it all; a failure, as of the disk, is kept for the thread that waits."""
        try:
            while chunk := os.read(self.source.fileno(), CHUNK_BYTES):
                self.writer.write(chunk)
        except Exception as error:  # whatever it is, pg_dump would wait for ever to be read
            self.failure = error


def wait_a_moment(program: RunningProgram) -> None:
    """Wait until the program ends, or for a fraction of a second."""
    until = time.monotonic() + WATCH_SECONDS
    while program.process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


@contextmanager
def private_files() -> Iterator[None]:
    """Let what a program makes be for its owner alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def archive_path(folder: Path) -> Path:
    """Where the archive of a backup in `folder` is; raises `IacallsError` where there is none."""
    for name in NAMES.values():
        for suffix in ("", ".zst", ".gz"):
            if (folder / (name + suffix)).exists():
                return folder / (name + suffix)
    raise IacallsError("the archive is missing")
