"""Making a backup: a plan, one snapshot for dump and counts, everything read back, then the name."""

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from iacalls_cli import __version__
from iacalls_cli.database.connection import Connection
from iacalls_cli.database.programs import Client
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.catalog import write_catalog
from iacalls_cli.operations.backup.dump import DumpPlan, Progress, compress_directory, run_dump
from iacalls_cli.operations.backup.manifest import Manifest, TableRows, write_manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, write_proof
from iacalls_cli.operations.backup.snapshot import (
    Source,
    copied_rows,
    count_table,
    exported_snapshot,
    lock_tables,
    migration_head,
    named_lock_waits,
    read_source,
    working_reports,
)
from iacalls_cli.operations.backup.store import Backup, Store, read_backup
from iacalls_cli.operations.backup.verify import read_whole
from iacalls_cli.operations.db.verify import read_catalog
from iacalls_cli.operations.files import StoredFile, hash_files, utc_now
from iacalls_cli.text import pretty_size

# Of the tables' size on the server, a compressed dump takes rarely more than half; and what
# an earlier backup of the same database took is a better guess.
COMPRESSED_SHARE = 0.5
GROWTH = 1.5
# Of a database with more tables, the largest ones are shown while they are dumped.
SHOWN_TABLES = 20


@dataclass(frozen=True)
class CreatePlan:
    """What is to be made: how to dump, where to, under what name."""

    dump: DumpPlan
    source: Source
    label: str

    def needed_bytes(self, store: Store) -> int:
        """A cautious guess of the room the backup takes while it is made."""
        if self.dump.contents == "schema":
            return 0
        is_compressed = self.dump.compression.method != "none"
        guess = int(self.source.data_bytes * (COMPRESSED_SHARE if is_compressed else 1))
        facts = self.source.facts
        group = facts["system_identifier"], facts["name"], self.dump.contents
        for backup in store.backups():
            manifest = backup.manifest
            if manifest and manifest.group == group and manifest.compression == str(self.dump.compression):
                guess = int(manifest.size * GROWTH)
                break
        if self.dump.format == "directory" and self.dump.compression.method == "zstd":
            # pg_dump writes the files as they are, and each is compressed afterwards.
            guess += self.source.data_bytes
        return guess


def require_disk_space(plan: CreatePlan, store: Store) -> None:
    """Raise `IacallsError` where the store's disk has no room for the backup."""
    needed, free = plan.needed_bytes(store), store.free_bytes()
    if needed > free:
        raise IacallsError(
            f"{store.directory} has {pretty_size(free)} free, and the backup may need {pretty_size(needed)}",
            "free space, `iacalls backup prune` old ones, or name another folder with --directory",
        )


def create_backup(connection: Connection, client: Client, store: Store, plan: CreatePlan, progress: Progress) -> Backup:
    """Make one backup, read it back and record it as verified.

    It appears under its final name whole, or not at all. Raises `IacallsError` with the words of
    pg_dump, the server or the disk; nothing is left then.
    """
    started, name = utc_now(), store.new_id(plan.source.facts["name"], plan.label)
    try:
        with store.partial(name) as folder:
            with (
                named_lock_waits(connection, plan.dump.lock_wait),
                exported_snapshot(connection, plan.dump.lock_wait) as (snapshot, taken),
            ):
                # The tables and facts of the snapshot: some may have come and gone since the plan was made.
                source = read_source(connection)
                lock_tables(connection, source)
                watch = ProgressMonitor(connection, source, client, plan.dump.contents, progress)
                written = run_dump(client, plan.dump, folder, snapshot, watch)
                tables = watch.finish()
                head, reports = migration_head(connection, source), working_reports(connection)
                write_catalog(folder, read_catalog(connection))
            written |= compress_directory(plan.dump, folder)
            paths = [str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()]
            for path in paths:
                (folder / path).chmod(0o600)
            sync_files(folder, paths)
            with ThreadPoolExecutor(1) as beside:
                hashing = beside.submit(hash_files, folder, paths)
                try:
                    read_whole(folder, plan.dump.format, client.programs.major)
                finally:
                    # First of all it is told where the disk holds other bytes than were written.
                    files = hashing.result()
                    require_as_written(files, written)
            manifest = Manifest(
                id=name,
                label=plan.label,
                contents=plan.dump.contents,
                format=plan.dump.format,
                compression=str(plan.dump.compression),
                database={
                    key: value for key, value in source.facts.items() if key not in ("has_migrations", "large_objects")
                },
                client=client.programs.version,
                iacalls=__version__,
                migration_head=head,
                snapshot_at=taken.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                started_at=started,
                ended_at=utc_now(),
                tables=tables,
                large_objects=source.facts["large_objects"],
                reports=reports,
                files=files,
            )
            write_manifest(folder, manifest)
            write_proof(folder, Proof(manifest_digest(folder), verified_at=utc_now()))
            return read_backup(store.publish(folder))
    except OSError as error:
        raise IacallsError(
            f"cannot write to {store.directory}: {error.strerror}; nothing was left there",
            "free space, or name another folder with --directory",
        ) from error


def require_as_written(files: Iterable[StoredFile], written: Mapping[str, str]) -> None:
    """Raise `IacallsError` for a file whose SHA-256, read back, is not that of what was written."""
    for file in files:
        if written.get(file.path, file.sha256) != file.sha256:
            raise IacallsError(f"{file.path} reads back otherwise than it was written", "is the disk failing?")


class ProgressMonitor:
    """Counts the tables of the dump's snapshot while pg_dump runs, then follows its progress."""

    def __init__(
        self, connection: Connection, source: Source, client: Client, contents: str, progress: Progress
    ) -> None:
        self.connection, self.progress = connection, progress
        self.uncounted = list(reversed(source.tables)) if contents != "schema" else []
        self.counted: list[TableRows] = []
        self.application = client.application
        largest = sorted(source.tables, key=lambda relation: relation.bytes, reverse=True)[:SHOWN_TABLES]
        self.shown = {(relation.schema, relation.name) for relation in largest}

    def __call__(self) -> None:
        """Count one more table, or look how far the dump is."""
        if self.uncounted:
            self.counted.append(count_table(self.connection, self.uncounted.pop()))
            return
        rows = {(table.schema, table.name): table for table in self.counted}
        for key, done in copied_rows(self.connection, self.application).items():
            if table := rows.get(key):
                self.show(table, min(done, table.rows))

    def show(self, table: TableRows, done: int) -> None:
        """Tell the progress of a table, if it is among the largest."""
        if (table.schema, table.name) in self.shown:
            self.progress(str(table), done, table.rows)

    def finish(self) -> tuple[TableRows, ...]:
        """Count what is left; returns all counts."""
        while self.uncounted:
            self()
        for table in self.counted:
            self.show(table, table.rows)
        return tuple(sorted(self.counted, key=lambda table: (table.schema, table.name)))


def sync_files(folder: Path, paths: list[str]) -> None:
    """Have files written to the disk, and forgotten in memory: reading them back then reads the disk."""
    for path in [*paths, *{str(Path(path).parent) for path in paths}]:
        handle = os.open(folder / path, os.O_RDONLY)
        try:
            os.fsync(handle)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
