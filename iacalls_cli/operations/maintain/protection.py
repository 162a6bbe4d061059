"""What no rule deletes: batches that still run, their calls, and campaigns with a running batch.

The states are those the application writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.operations.maintain.references import Schema
from iacalls_cli.queries import load_query

BATCHES, CALLS, CAMPAIGNS = (("public", name) for name in ("batch_calls", "call_records", "groups"))
# A state that is not known to be an end counts as running.
RUNNING_BATCH = "coalesce({row}.status NOT IN ('completed', 'failed', 'cancelled'), true)"
CALL_OF_RUNNING_BATCH = """coalesce({row}.batch_call_id IN (
    SELECT batch.id FROM public.batch_calls AS batch
     WHERE coalesce(batch.status NOT IN ('completed', 'failed', 'cancelled'), true)), false)"""
# A campaign that never ran has the state none, or no state.
RUNNING_CAMPAIGN = "coalesce({row}.batch_status NOT IN ('none', 'completed', 'failed', 'cancelled'), false)"


@dataclass(frozen=True)
class Protection:
    """Rows of a table, by oid, that stay. `condition` is SQL over the table as `alias`."""

    oid: int
    reason: str
    template: str

    def condition(self, alias: str) -> sql.Composed:
        """Whether a row of the table under that alias stays."""
        return sql.SQL(self.template).format(row=sql.Identifier(alias))


def read_protections(connection: Connection, schema: Schema) -> tuple[Protection, ...]:
    """The protections that apply to the tables there are."""
    tables = {(relation.schema, relation.name): relation.oid for relation in schema.relations.values()}

    def has(table: tuple[str, str], *columns: str) -> bool:
        if table not in tables:
            return False
        known = {row["name"] for row in fetch(connection, load_query("maintain/columns"), {"oid": tables[table]})}
        return known.issuperset(columns)

    def found() -> Iterator[Protection]:
        if has(BATCHES, "id", "status"):
            yield Protection(tables[BATCHES], "running batches", RUNNING_BATCH)
            if has(CALLS, "batch_call_id"):
                yield Protection(tables[CALLS], "calls of running batches", CALL_OF_RUNNING_BATCH)
        if has(CAMPAIGNS, "batch_status"):
            yield Protection(tables[CAMPAIGNS], "campaigns with a running batch", RUNNING_CAMPAIGN)

    return tuple(found())
