"""Old rows for a cleanup, and where they are: in the tables, in the archives, never in neither."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import psycopg
import zstandard
from psycopg import sql

from tests.support.random_rows import NASTY

TABLES = ("whatsapp_conversations", "call_records")
# Rows that nothing refers to, with what is hard to write down exactly; one of ten is young or did not fail.
CONVERSATIONS = """
    INSERT INTO public.whatsapp_conversations
           (phone_number, client_name, conversation_summary, message_sent, status, sent_at, created_at, updated_at)
    SELECT '+57300' || g, (%(nasty)s::text[])[1 + g %% %(count)s],
           CASE WHEN g %% 7 > 0 THEN repeat((%(nasty)s::text[])[1 + g %% %(count)s] || g, g %% 40) END,
           CASE WHEN g %% 3 > 0 THEN jsonb_build_object('texto', (%(nasty)s::text[])[1 + g %% %(count)s], 'n', g / 7.0) END,
           CASE WHEN g %% 11 > 0 THEN 'sent' END, CASE WHEN g %% 5 > 0 THEN '2024-02-29 23:59:59.000001'::timestamp END,
           CASE WHEN g %% 10 > 0 THEN localtimestamp - interval '31 days' - g * interval '1 second' ELSE localtimestamp END,
           CASE WHEN g %% 13 = 0 THEN 'infinity' ELSE localtimestamp - g * interval '1 millisecond' END
      FROM generate_series(1, %(rows)s) AS g"""
CALLS = """
    INSERT INTO public.call_records
           (batch_call_id, client_id, phone_number, status, transcript_summary, full_transcript, created_at, updated_at)
    SELECT NULL, NULL, '+57310' || g, CASE WHEN g %% 4 = 0 THEN 'completed' ELSE 'failed' END,
           (%(nasty)s::text[])[1 + g %% %(count)s],
           jsonb_build_array(jsonb_build_object('role', 'agent', 'message', (%(nasty)s::text[])[1 + g %% %(count)s])),
           localtimestamp - interval '61 days' - g * interval '1 second', localtimestamp - interval '60 days'
      FROM generate_series(1, %(rows)s) AS g"""


def add_old_rows(connection: psycopg.Connection, rows: int = 2000) -> None:
    """So many conversations and calls, most of them old, told in the server's clock."""
    values = {"nasty": list(NASTY), "count": len(NASTY), "rows": rows}
    for statement in (CONVERSATIONS, CALLS):
        connection.execute(statement, values)


def rows_of(connection: psycopg.Connection, *tables: str) -> Counter[str]:
    """Every row of the tables as PostgreSQL writes it, columns in their order."""
    found: Counter[str] = Counter()
    for table in tables or TABLES:
        statement = sql.SQL("COPY (SELECT * FROM public.{}) TO STDOUT").format(sql.Identifier(table))
        with connection.cursor().copy(statement) as copy:
            found.update(table + "\t" + bytes(row).decode() for row in copy)
    return found


def archived_rows(folder: Path) -> Counter[str]:
    """Every row of a closed archive, read by nothing of ours, as `rows_of` has it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    found: Counter[str] = Counter()
    for file in manifest["files"]:
        if file["action"] != "deleted":
            continue
        with (folder / file["path"]).open("rb") as handle:
            content = zstandard.ZstdDecompressor().stream_reader(handle, read_across_frames=True).read()
        header, *lines = content.decode().split("\n")[:-1] or ["[]"]
        assert json.loads(header) == (file["columns"] if lines else json.loads(header))
        for line in lines:
            values = ("\\N" if value is None else escape(value) for value in json.loads(line))
            found[file["table"] + "\t" + "\t".join(values) + "\n"] += 1
    return found


def escape(value: str) -> str:
    """A value as COPY's text format has it."""
    for plain, escaped in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"), ("\b", "\\b")):
        value = value.replace(plain, escaped)
    return value.replace("\f", "\\f").replace("\v", "\\v")


def check_sums(folder: Path) -> str:
    """What `sha256sum -c` says of an archive: nothing, where all is well."""
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


def archives_in(folder: Path) -> list[Path]:
    """The archives in a folder, the oldest first."""
    found = [path for path in folder.iterdir() if path.is_dir() and path.name.endswith("Z")] if folder.exists() else []
    return sorted(found, key=lambda path: path.name.rsplit("_", 1)[1])


def check_whole(connection: psycopg.Connection, folder: Path, rows: Counter[str]) -> Counter[str]:
    """Each row is in its table or in a closed archive, once and as it was, and the archives are sound.

    Returns those in archives.
    """
    kept = sum(map(archived_rows, archives_in(folder)), Counter())
    here = rows_of(connection)
    missing, added = rows - here - kept, here + kept - rows
    assert not missing, f"{sum(missing.values())} rows are in neither, {next(iter(missing))}"
    assert not added, f"{sum(added.values())} rows are in both, or otherwise than they were: {next(iter(added))}"
    for archive in archives_in(folder):
        assert check_sums(archive) == ""
    return kept
