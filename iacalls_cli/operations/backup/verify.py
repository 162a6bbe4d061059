"""Whether a backup is whole: every file by its checksum, then the archive read from end to end."""

import errno
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from iacalls_cli.database.programs import choose_programs, start_program, widen_pipe
from iacalls_cli.errors import IacallsError
from iacalls_cli.operations.backup.dump import TOC, archive_path
from iacalls_cli.operations.backup.manifest import MANIFEST, PROOF, SUMS, Manifest
from iacalls_cli.operations.backup.proof import Proof, manifest_digest, write_proof
from iacalls_cli.operations.backup.store import Backup, read_backup
from iacalls_cli.operations.compression import is_compressed, read_chunks
from iacalls_cli.operations.files import StoredFile, hash_file, utc_now
from iacalls_cli.safe_files import UNFINISHED, DamagedFile, ForeignFile, OpenFolder, open_folder, require_regular

# The last is what a killed check leaves; the next one writes over it.
OWN_FILES = (MANIFEST, SUMS, PROOF, PROOF + UNFINISHED)
# How pg_dump ends a plain dump, and a table's data in a directory.
PLAIN_END = b"-- PostgreSQL database dump complete"
DATA_END = b"\\.\n"
TAIL_BYTES = 4096
# How the damage begins that a rehearsal found.
REHEARSAL = "rehearsal: "


def verify_backup(backup: Backup) -> tuple[Backup, list[str]]:
    """Read a backup whole and record the outcome; returns it as it is now, and what was found wrong.

    Raises `IacallsError` where it cannot be told: no program to read the archive, no right to the files.
    """
    findings = list(find_damage(backup))
    if backup.manifest is None:
        return backup, findings
    damage = "; ".join(findings)
    # A record that was changed is made anew: the archive itself has just been read.
    if findings == [backup.problem]:
        findings = [f"{backup.problem}: the archive is whole, and the record is made anew; rehearse it again"]
        damage = ""
    # As it is now: while the archive was read, a rehearsal may have recorded something.
    current = read_backup(backup.folder)
    if current.foreign:
        return replace(backup, foreign=current.foreign), [*findings, current.foreign]
    kept = Proof(manifest_digest(backup.folder)) if current.problem else current.proof
    if not damage and kept.damage.startswith(REHEARSAL):
        # Sound files do not make good what a restore of them found; only another rehearsal does.
        damage = kept.damage
        findings.append(damage)
    proof = replace(kept, damage=damage, verified_at=kept.verified_at if damage else utc_now())
    record(backup.folder, proof)
    return replace(backup, proof=proof), findings


def record(folder: Path, proof: Proof) -> None:
    """Write what was found out, where that can be: others' backups and read-only media can be looked at too."""
    try:
        write_proof(folder, proof)
    except ForeignFile:
        pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def find_damage(backup: Backup) -> Iterator[str]:
    """What is wrong with a backup, one line each."""
    if backup.problem:
        yield backup.problem
    if backup.manifest is None:
        return
    if backup.manifest.format != "plain":
        # Without programs to read it an archive is not damaged: this raises.
        choose_programs(backup.manifest.client_major)
    damaged = list(compare_files(backup.folder, backup.manifest))
    yield from damaged
    if not damaged:
        try:
            read_whole(backup.folder, backup.manifest.format, backup.manifest.client_major)
        except IacallsError as error:
            yield error.message


def compare_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Files that are missing, too many, or not what the manifest says."""
    with open_folder(folder) as opened:
        yield from compare_opened(opened, manifest)


def compare_opened(folder: OpenFolder, manifest: Manifest) -> Iterator[str]:
    """The same of a directory that is open."""
    present, expected = folder.files(), {file.path for file in manifest.files}
    for path in present:
        if path not in expected and path not in OWN_FILES:
            yield f"{path} does not belong to this backup"
    for file in manifest.files:
        if missing := missing_bytes(folder, file):
            yield missing
            continue
        try:
            found = hash_file(folder, file.path)
        except FileNotFoundError:
            yield f"{file.path} is missing"
            continue
        except DamagedFile as error:
            yield error.message
            continue
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            yield f"{file.path} cannot be read: the disk fails"
            continue
        if found.sha256 != file.sha256:
            yield f"{file.path} was changed: its checksum differs"


def missing_bytes(folder: OpenFolder, file: StoredFile) -> str:
    """What is missing of a file at a glance, or ''."""
    try:
        status = folder.look_at(file.path)
    except DamagedFile as error:
        return error.message
    if status is None or stat.S_ISDIR(status.st_mode):
        return f"{file.path} is missing"
    try:
        require_regular(status, file.path)
    except DamagedFile as error:
        return error.message
    if status.st_size != file.bytes:
        return f"{file.path} has {status.st_size:,} bytes, and had {file.bytes:,}"
    return ""


def read_whole(folder: Path, form: str, major: int) -> None:
    """Read an archive from end to end as a restore would; raises `IacallsError` where that fails.

    `form` is its format, `major` the version of the pg_dump that wrote it.
    """
    archive = archive_path(folder)
    if form == "custom":
        read_custom(archive, major)
    elif form == "plain":
        require_end(archive, PLAIN_END)
    else:
        read_directory(archive, major)


def read_custom(archive: Path, major: int) -> None:
    """Have pg_restore read a custom archive to its end: its list alone (-l) needs no more than the beginning."""
    programs = choose_programs(major)
    command = [str(programs.folder / "pg_restore"), "--file=/dev/null"]
    if not is_compressed(archive):
        with start_program([*command, str(archive)]) as restore:
            restore.check()
        return
    with start_program(command, stdin=subprocess.PIPE) as restore:
        stream = restore.process.stdin
        assert stream is not None  # noqa: S101, it was asked for
        widen_pipe(stream)
        try:
            for chunk in read_chunks(archive):
                stream.write(chunk)
            stream.close()
        except BrokenPipeError:
            pass  # pg_restore says why
        restore.check()


def read_directory(archive: Path, major: int) -> None:
    """Have pg_restore read a directory's table of contents, and read every table's data to its end."""
    programs = choose_programs(major)
    with start_program([str(programs.folder / "pg_restore"), "--list", str(archive)]) as restore:
        restore.check()
    for path in sorted(archive.iterdir()):
        if path.name == TOC or ".dat" not in path.name:
            continue
        is_large_object = path.name.startswith("blob_")
        require_end(path, b"" if is_large_object else DATA_END)


def require_end(path: Path, end: bytes) -> None:
    """Read a file whole; raises `IacallsError` unless it ends as it should, white space apart."""
    tail = b""
    for chunk in read_chunks(path):
        tail = (tail + chunk)[-TAIL_BYTES:]
    if end not in tail:
        raise IacallsError(f"{path.name} ends too early")
