"""Folders of backups: made up for the commands that read no archives, looked at, waited for."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from iacalls_cli.operations.backup.manifest import Manifest, write_manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, write_proof
from iacalls_cli.operations.files import StoredFile, hash_files, write_file

SERVER = "7000000000000000001"
NOON = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
T = TypeVar("T")


def ids(folder: Path) -> list[str]:
    """What is in a folder, in order."""
    return sorted(path.name for path in folder.iterdir())


def days(count: int, start: datetime = NOON) -> list[datetime]:
    """So many days, the last first."""
    return [start - timedelta(days=number) for number in range(count)]


def stamp(moment: datetime) -> str:
    """A time as a manifest has it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def make_folder(
    store: Path,
    taken: datetime,
    *,
    database: str = "shop",
    contents: str = "full",
    state: str = "verified",
    label: str = "",
    size: int = 10,
    proven_at: datetime | None = None,
    server: str = SERVER,
    **changes: object,
) -> Path:
    """A backup's folder with a real manifest, taken at a moment, in a state: created, verified, proven or damaged."""
    name = f"{database}_{taken.astimezone(UTC):%Y%m%dT%H%M%SZ}" + (f"_{label}" if label else "")
    folder = store / name
    folder.mkdir(parents=True)
    data = (name.encode() * size)[:size]
    (folder / "dump.pgdump").write_bytes(data)
    moment = stamp(taken)
    manifest = Manifest(
        id=name,
        label=label,
        contents=contents,
        format="custom",
        compression="none",
        database={"name": database, "system_identifier": server},
        client="18.1",
        iacalls="0.1.0",
        migration_head=None,
        snapshot_at=moment,
        started_at=moment,
        ended_at=moment,
        tables=(),
        large_objects=0,
        reports=(),
        files=(StoredFile("dump.pgdump", size, hashlib.sha256(data).hexdigest()),),
    )
    write_manifest(folder, replace(manifest, **changes))  # type: ignore[arg-type]
    when = stamp(proven_at or taken) if state == "proven" else ""
    proof = Proof(
        manifest_digest(folder),
        verified_at="" if state == "created" else moment,
        proven_at=when,
        damage="dump.pgdump was changed" if state == "damaged" else "",
    )
    write_proof(folder, proof)
    return folder


def rewrite(folder: Path, manifest: Manifest, **changes: object) -> None:
    """Change what a backup says of itself, and everything that is checked with it, as if it had been made so."""
    paths = [file.path for file in manifest.files]
    write_manifest(folder, replace(manifest, files=hash_files(folder, paths), **changes))  # type: ignore[arg-type]
    write_proof(folder, Proof(manifest_digest(folder), verified_at=stamp(datetime.now(UTC))))


def overwrite(path: Path, text: str) -> None:
    """Change one file of a backup."""
    write_file(path, text)


def left_in(folder: Path) -> list[str]:
    """The names in a folder, which need not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def wait_until(condition: Callable[[], T], seconds: float = 30) -> T:
    """The first answer of `condition` that is true; fails after some seconds."""
    until = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)
    return answer
