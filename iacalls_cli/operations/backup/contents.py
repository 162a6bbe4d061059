"""The entries of an archive, as pg_restore lists them, and the order in which they are restored.

pg_restore itself brings back rows, indexes and constraints, by as many jobs as wanted. All other
entries come from it as text and are run one by one: what this server or role lacks can then be
left out and named.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from iacalls_cli.database.programs import Client, start_program, widen_pipe
from iacalls_cli.operations.files import CHUNK_BYTES

ROWS = ("TABLE DATA", "BLOB METADATA", "BLOBS", "BLOB", "LARGE OBJECT", "SEQUENCE SET")
INDEXES = ("INDEX ATTACH", "INDEX")
CONSTRAINTS = ("FK CONSTRAINT", "CHECK CONSTRAINT", "CONSTRAINT")
BY_PROGRAM = (*ROWS, *INDEXES, *CONSTRAINTS)
# What comes behind all constraints, in the archive's own order.
LAST = (
    "MATERIALIZED VIEW DATA", "EVENT TRIGGER", "TRIGGER", "RULE", "POLICY", "ROW SECURITY", "STATISTICS DATA",
    "STATISTICS", "PUBLICATION TABLES IN SCHEMA", "PUBLICATION TABLE", "PUBLICATION", "SUBSCRIPTION TABLE",
    "SUBSCRIPTION", "COMMENT", "SECURITY LABEL", "DEFAULT ACL", "ACL",
)  # fmt: skip
ENTRY = re.compile(r"(?P<id>\d+); \d+ \d+ (?P<rest>.*)")
KINDS = (*LAST, *BY_PROGRAM, "EXTENSION", "TABLE")
CLIENT_ENCODING = re.compile(rb"^SET client_encoding (?:=|TO) '(\w+)'", re.MULTILINE)
HEAD_BYTES = 1 << 16
# Entries whose text may name an owner or a tablespace, which pg_restore is told to leave alone.
OWNED = ("BLOB METADATA", "BLOB", "INDEX", "CONSTRAINT")


@dataclass(frozen=True)
class Entry:
    """One line of pg_restore's list: `kind` is known or '', `name` is schema, name and owner as they are listed."""

    line: str
    kind: str
    name: str


@dataclass(frozen=True)
class Phase:
    """Entries that are restored together: by pg_restore itself, or as text."""

    entries: tuple[Entry, ...]
    by_program: bool


def read_contents(client: Client, archive: Path, *sections: str) -> list[Entry]:
    """Return an archive's entries in its own order, of some sections or all; raises `IacallsError`."""
    options = [f"--section={section}" for section in sections]
    text = b"".join(run_restore(client, archive, "--list", *options))
    entries = []
    for line in text.decode("utf-8", "replace").splitlines():
        if match := ENTRY.fullmatch(line):
            kind = next((kind for kind in KINDS if match["rest"].startswith(f"{kind} ")), "")
            entries.append(Entry(line, kind, match["rest"][len(kind) :].strip()))
    return entries


def plan_phases(entries: Iterable[Entry], *, indexes_as_text: bool) -> list[Phase]:
    """Return in which order entries of the sections data and post-data are restored, and how.

    Views and routines that pg_dump puts behind a constraint they depend on are made before
    the indexes and constraints that follow them. `indexes_as_text` is for a server that may
    lack what an index needs: it is then left out alone.
    """
    entries = list(entries)
    postponed = [entry for entry in entries if entry.kind not in (*BY_PROGRAM, *LAST)]
    cut = entries.index(postponed[0]) if postponed else len(entries)
    last = [entry for entry in entries if entry.kind in LAST]
    phases = [
        *by_program(entries[:cut], indexes_as_text=indexes_as_text),
        Phase(tuple(postponed), by_program=False),
        *by_program(entries[cut:], indexes_as_text=indexes_as_text),
        Phase(tuple(last), by_program=False),
    ]
    return [phase for phase in phases if phase.entries]


def by_program(entries: Iterable[Entry], *, indexes_as_text: bool) -> Iterator[Phase]:
    """Yield the phases of rows, indexes and constraints: one, unless indexes are made as text between two."""
    fast = [entry for entry in entries if entry.kind in BY_PROGRAM]
    if not indexes_as_text:
        yield Phase(tuple(fast), by_program=True)
        return
    # A foreign key may refer to a unique index.
    groups = [
        [entry for entry in fast if entry.kind not in (*INDEXES, "FK CONSTRAINT")],
        [entry for entry in fast if entry.kind in INDEXES],
        [entry for entry in fast if entry.kind == "FK CONSTRAINT"],
    ]
    for group, is_program in zip(groups, (True, False, True), strict=True):
        yield Phase(tuple(group), by_program=is_program)


@contextmanager
def chosen(entries: Iterable[Entry]) -> Iterator[str]:
    """The option that has pg_restore take these entries only, in this order."""
    with tempfile.NamedTemporaryFile("w", suffix=".list", encoding="utf-8") as file:
        file.writelines(f"{entry.line}\n" for entry in entries)
        file.flush()
        yield f"--use-list={file.name}"


def entries_as_text(client: Client, archive: Path, entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield the SQL of some entries, in pieces."""
    entries = list(entries)
    if entries:
        with chosen(entries) as option:
            yield from run_restore(client, archive, "--file=-", option)


def entries_head(client: Client, archive: Path) -> Iterator[bytes]:
    """Yield the SQL that an archive begins with, before all entries."""
    with chosen(()) as option:
        yield from run_restore(client, archive, "--file=-", option)


def archive_script(client: Client, archive: Path, *options: str | bytes) -> Iterator[bytes]:
    """Yield the SQL that pg_restore makes of an archive, in pieces; raises `IacallsError` where it fails."""
    return run_restore(client, archive, "--file=-", *options)


def read_encoding(chunks: Iterable[bytes]) -> str:
    """Return the client encoding that a dump's SQL begins with, by PostgreSQL's name; '' where it names none."""
    head = next(iter(chunks), b"")[:HEAD_BYTES]
    match = CLIENT_ENCODING.search(head)
    return match[1].decode("ascii", "replace").upper() if match else ""


def run_restore(client: Client, archive: Path, *options: str | bytes) -> Iterator[bytes]:
    """Yield what pg_restore writes to its stdout, in pieces; raises `IacallsError` with its words where it fails.

    An option that holds a name is bytes in the archive's encoding.
    """
    command = [str(client.programs.folder / "pg_restore"), *options, str(archive)]
    with start_program(command, stdout=PIPE) as running:
        stream = running.process.stdout
        assert stream is not None  # noqa: S101, it was asked for
        widen_pipe(stream)
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
        running.check()
