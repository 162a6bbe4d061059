"""Whether an archive can be trusted, and bringing the one of a killed run to its end."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.sqlstates import INVALID_VALUE
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.files import hash_file, utc_now
from iacalls_cli.operations.maintain.archive.format import (
    JOURNAL,
    MANIFEST,
    MOST_JOURNAL_BYTES,
    append_lines,
    close_archive,
    journal_lock,
    kept_parts,
    part_rows,
    read_journal,
    read_sums,
)
from iacalls_cli.operations.maintain.archive.store import Archive, read_archive
from iacalls_cli.queries import load_query
from iacalls_cli.safe_files import open_folder

# How long a session that was cut off may still be at its last commit.
COMMIT_SECONDS = 10.0
# What the server says of a transaction number that it has not reached.


def verify_archive(archive: Archive) -> None:
    """Read an archive whole and compare it with its checksums; raises `IacallsError` naming what differs."""
    if archive.manifest is None:
        raise IacallsError(f"{archive.id}: {archive.problem}", "it cannot be trusted, and is left alone")
    if not archive.is_closed and archive.is_at_work:
        raise IacallsError(f"{archive.id}: its cleanup is still at work", "wait for it to end, then try again")
    files = {file.path: file for file in archive.manifest.files}
    try:
        sums = read_sums(archive.folder)
        if sums is not None and set(sums) != {MANIFEST, JOURNAL, *files}:
            raise KeyError(*sums)
        for name in (MANIFEST, JOURNAL) if sums is not None else ():
            require_digest(archive.folder, name, MOST_JOURNAL_BYTES, sums or {})
        parts = kept_parts(archive.folder)
        for name in files if sums is not None else ():
            most = max((part.offset + part.bytes for part in parts if part.path == name), default=0)
            require_digest(archive.folder, name, most, sums or {})
        for part in parts:
            for line in part_rows(archive.folder, files[part.path], part):
                require_row(line, len(files[part.path].columns))
    except (KeyError, ValueError, TypeError):
        problem = f"{archive.id}: its files do not fit each other"
    except OSError as error:
        problem = f"{archive.id}: {error.filename} cannot be read: {error.strerror}"
    except IacallsError as error:
        problem = f"{archive.id}: {error.message}"
    else:
        return
    raise IacallsError(problem, "it cannot be trusted, and is left alone; a copy of it may be whole")


def require_digest(folder: Path, name: str, most: int, sums: Mapping[str, str]) -> None:
    """Raise `IacallsError` unless a file of at most so many bytes has its checksum; a larger one is not read."""
    with open_folder(folder) as opened:
        status = opened.look_at(name)
        if (status and status.st_size > most) or hash_file(opened, name).sha256 != sums[name]:
            raise IacallsError(f"{name} was changed: its checksum differs")


def require_row(line: bytes, columns: int) -> None:
    """Raise ValueError unless a line of an archive holds a text or null for each column."""
    values = json.loads(line.decode("utf-8", "surrogateescape"))
    if not isinstance(values, list) or len(values) != columns or {type(value) for value in values} - {str, type(None)}:
        raise ValueError(columns)


def recover_archive(connection: Connection, archive: Archive) -> Archive:
    """Bring the archive of a run that was killed to its end; others stay as they are.

    The server knows whether the last transaction committed; if not, its part is cut off. It has to be the
    server that the run was on.
    """
    if archive.manifest is None or archive.is_closed:
        return archive
    with journal_lock(archive.folder) as handle:
        if handle is None:
            return archive  # a living process is still at it
        parts, outcomes = read_journal(archive.folder)
        # What stands behind the last whole line was being written.
        journal = os.pread(handle, os.fstat(handle).st_size, 0)
        os.ftruncate(handle, journal.rfind(b"\n") + 1)
        for xid in dict.fromkeys(part.xid for part in parts):
            if xid not in outcomes:
                outcomes[xid] = outcome_of(connection, xid)
                append_lines(handle, {outcomes[xid]: xid}, is_synced=False)
        sizes = {file.path: 0 for file in archive.manifest.files}
        for part in parts:
            if outcomes[part.xid] != "aborted":
                sizes[part.path] = part.offset + part.bytes
        with open_folder(archive.folder) as folder:
            for path, size in sizes.items():
                file = folder.open(path, os.O_RDWR)
                try:
                    os.ftruncate(file, size)
                finally:
                    os.close(file)
        os.fsync(handle)
        close_archive(archive.folder, replace(archive.manifest, state="killed", ended_at=utc_now()))
    return read_archive(archive.folder)


def outcome_of(connection: Connection, xid: str) -> str:
    """What became of a transaction: committed, aborted or, too long ago, unknown."""
    until = time.monotonic() + COMMIT_SECONDS
    while True:
        try:
            outcome = fetch(connection, load_query("maintain/outcome"), {"xid": xid})[0]["outcome"]
        except DatabaseError as error:
            if error.sqlstate != INVALID_VALUE:  # it was restored from before that time
                raise
            return "unknown"
        if outcome != "in progress" or time.monotonic() > until:
            return outcome if outcome in ("committed", "aborted") else "unknown"
        time.sleep(0.1)
