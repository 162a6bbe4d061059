"""Loading sample data through COPY, in one transaction."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from functools import partial
from itertools import islice

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.sample.generate import Row, Sample, amounts_of
from iacalls_cli.queries import load_query

# A COPY's foreign key checks wait in the server's memory until it ends.
COPY_ROWS = 200_000
REPORT_ROWS = 5_000

COLUMNS = {
    "users": "id username email password first_name last_name role is_active time agent_id created_at updated_at",
    "clients": "id external_id name phone email address category status metadata is_active created_at updated_at",
    "groups": "id name description prompt is_active created_by created-by batch_id batch_status batch_started_at "
    "batch_completed_at batch_total_recipients batch_completed_calls batch_failed_calls first_message created_at "
    "updated_at",
    "client_groups": "id client_id group_id assigned_by assigned_at",
    "uploaded_files": "id original_name file_name bucket_url file_size content_type uploaded_by group_id created_at "
    "updated_at",
    "gcp_documents": "id file_name original_name bucket_url file_size content_type document_type group_id uploaded_by "
    "created_at updated_at",
    "batch_calls": "id batch_id group_id user_id agent_id call_name status total_recipients completed_calls "
    "failed_calls started_at completed_at created_at updated_at",
    "call_records": "id batch_call_id client_id phone_number recipient_id conversation_id status call_duration_secs "
    "transcript_summary full_transcript call_started_at call_ended_at created_at updated_at",
    "whatsapp_conversations": "id phone_number client_name conversation_summary message_sent message_received status "
    "twilio_message_id error_message sent_at received_at created_at updated_at",
}


def load_sample(
    connection: Connection, scale: float, seed: int, anchor: datetime, progress: Callable[[str, int, int], None]
) -> bool:
    """Fill a database that holds no data yet; all of it or, on any failure, nothing.

    `progress` is called with (table, rows done, rows in all). Memory does not grow with
    scale. Returns whether anything was loaded: nothing is where there are data already.
    """
    sample = Sample(amounts_of(scale), seed, anchor)
    with connection.transaction():
        fetch(connection, load_query("sample/lock"))
        if not fetch(connection, load_query("sample/is-without-data"))[0]["empty"]:
            return False
        for field in fields(sample.amounts):
            table, total = field.name, getattr(sample.amounts, field.name)
            rows = getattr(sample, table)()
            copy_rows(connection, table, rows, partial(progress_of, progress, table, total))
            connection.execute(
                sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(
                    sql.Literal(f"public.{table}"), sql.Identifier("public", table)
                )
            )
    # Not inside the transaction: VACUUM sets the visibility map, which index-only scans need.
    connection.execute("VACUUM (ANALYZE)")
    return True


def progress_of(progress: Callable[[str, int, int], None], table: str, total: int, done: int) -> None:
    """Report the progress of one table."""
    progress(table, done, total)


def copy_rows(connection: Connection, table: str, rows: Iterator[Row], progress: Callable[[int], None]) -> None:
    """COPY rows into a table, some hundred thousand at a time."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS[table].split()))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier("public", table), columns)
    done = 0
    while chunk := list(islice(rows, REPORT_ROWS)):
        with connection.cursor().copy(statement) as copy:
            in_this_copy = 0
            while chunk:
                for row in chunk:
                    copy.write_row(row)
                done += len(chunk)
                in_this_copy += len(chunk)
                progress(done)
                chunk = list(islice(rows, REPORT_ROWS)) if in_this_copy < COPY_ROWS else []
