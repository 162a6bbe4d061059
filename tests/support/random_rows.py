"""Random rows for every table: NULLs, ties, orphans, zeros, and text that is hard to show."""

from datetime import datetime, timedelta
from random import Random
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

NASTY = (
    "María Ñáñez",
    "",
    'O\'Neill "Bob"',
    "línea 1\nlínea 2",
    "tab\there",
    "50 % [bold]",
    "עברית",
    "🎉 ¿qué?",
    "a,b;c|d\\e",
)
CALLS = (
    "pending",
    "initiated",
    "ringing",
    "in_progress",
    "completed",
    "finished",
    "ended",
    "failed",
    "busy",
    "no_answer",
)
START = datetime(2025, 6, 1, 12)  # noqa: DTZ001, the schema's timestamps have no zone


def fill(connection: psycopg.Connection, seed: int, size: int = 40, least: int = 0) -> None:
    """Insert up to `size` rows, and some times that, into each table; the same ones for the same seed."""
    random = Random(seed)

    def amount(most: int) -> int:
        return random.randint(min(least, most), most)

    def maybe(value: Any, share: float = 0.2) -> Any:
        return None if random.random() < share else value

    def moment() -> datetime:
        # Few different moments, so that sort keys tie.
        return START + timedelta(hours=random.randrange(200))

    def one_of(ids: list[int]) -> int | None:
        return maybe(random.choice(ids)) if ids else None

    def text() -> str:
        return random.choice(NASTY)

    users = insert_all(connection, "users", [
        {"username": f"user{n}", "email": f"user{n}@example.com", "password": "!", "is_active": maybe(random.random() < 0.7),
         "role": maybe(random.choice(("admin", "user", "agent"))), "time": maybe(moment())}
        for n in range(amount(size))])  # fmt: skip
    clients = insert_all(connection, "clients", [
        {"name": text(), "phone": maybe(f"+57300{random.randrange(20)}"), "is_active": maybe(random.random() < 0.8, 0.1),
         "metadata": maybe(Jsonb({"á": text()}))}
        for _ in range(max(1, amount(size)))])  # fmt: skip
    groups = insert_all(connection, "groups", [
        {"name": f"{text()} {n}", "is_active": maybe(random.random() < 0.8, 0.1), "created_by": one_of(users),
         "batch_status": maybe(random.choice(("none", "pending", "in_progress", "completed", "failed"))),
         "batch_total_recipients": maybe(random.choice((0, 1, 7, 300))), "batch_completed_calls": maybe(random.randrange(9)),
         "batch_failed_calls": maybe(random.randrange(3)), "created_at": maybe(moment()), "batch_started_at": maybe(moment()),
         "created-by": maybe("7"), "batch_completed_at": maybe(moment())}
        for n in range(amount(size))])  # fmt: skip
    pairs = {(random.choice(clients), random.choice(groups)) for _ in range(2 * size)} if groups else set()
    insert_all(
        connection, "client_groups", [{"client_id": client, "group_id": group} for client, group in sorted(pairs)]
    )
    batches = insert_all(connection, "batch_calls", [
        {"batch_id": f"batch{n}", "group_id": one_of(groups), "user_id": one_of(users), "call_name": maybe(text()),
         "status": maybe(random.choice(("pending", "in_progress", "completed", "failed", "cancelled"))),
         "total_recipients": maybe(random.choice((0, 3, 11))), "completed_calls": maybe(random.randrange(5)),
         "failed_calls": maybe(random.randrange(5)), "started_at": maybe(moment()), "completed_at": maybe(moment())}
        for n in range(amount(size))])  # fmt: skip
    insert_all(connection, "call_records", [
        {"batch_call_id": one_of(batches), "client_id": one_of(clients), "phone_number": f"+57{n % 9}",
         "status": maybe(random.choice(CALLS), 0.05), "call_duration_secs": maybe(random.randrange(300)),
         "transcript_summary": maybe(text()), "full_transcript": maybe(Jsonb([{"role": "agent", "message": text()}])),
         "call_started_at": maybe(moment()), "call_ended_at": maybe(moment(), 0.1), "created_at": moment()}
        for n in range(amount(6 * size))])  # fmt: skip
    insert_all(connection, "whatsapp_conversations", [
        {"phone_number": f"+57{n % 9}", "client_name": maybe(text()), "status": maybe(random.choice(("sent", "read", "failed"))),
         "message_sent": maybe(Jsonb({"body": text()})), "sent_at": maybe(moment()), "received_at": maybe(moment())}
        for n in range(amount(3 * size))])  # fmt: skip
    insert_all(connection, "uploaded_files", [
        {"original_name": text(), "file_name": f"file{n}", "uploaded_by": one_of(users), "group_id": one_of(groups)}
        for n in range(amount(size))])  # fmt: skip
    insert_all(connection, "gcp_documents", [
        {"original_name": text(), "file_name": "x", "bucket_url": "gs://x", "group_id": one_of(groups)}
        for _ in range(amount(size))])  # fmt: skip


def insert_all(connection: psycopg.Connection, table: str, rows: list[dict[str, Any]]) -> list[int]:
    """Insert rows and return their ids."""
    ids = []
    for row in rows:
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        values = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(sql.Identifier(table), names, values)
        ids.append(connection.execute(statement, list(row.values())).fetchone()[0])
    return ids
