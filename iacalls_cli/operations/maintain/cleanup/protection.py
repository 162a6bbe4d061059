"""What no rule deletes: batches that still run, their calls, and campaigns with a running batch.

The states are those the application writes. A batch whose state was never brought to an end, because
the application died, would keep its calls for ever: so it runs only while something happens in it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.operations.maintain.relations import Schema
from iacalls_cli.queries import load_query, load_template

BATCHES, CALLS, CAMPAIGNS = (("public", name) for name in ("batch_calls", "call_records", "groups"))
# A state that is not known to be an end counts as running; a campaign that never ran has the state none, or no state.
OPEN_BATCH = """coalesce({row}.status::pg_catalog.text OPERATOR(pg_catalog.<>)
    ALL (ARRAY['completed', 'failed', 'cancelled']), true)"""
OPEN_CAMPAIGN = """coalesce({row}.batch_status::pg_catalog.text OPERATOR(pg_catalog.<>)
    ALL (ARRAY['none', 'completed', 'failed', 'cancelled']), false)"""
# The columns that say when something happened, as far as a table has them.
BATCH_TIMES = ("created_at", "started_at", "completed_at", "updated_at")
CALL_TIMES = ("created_at", "updated_at", "call_started_at", "call_ended_at", "audio_uploaded_at")
CAMPAIGN_TIMES = ("created_at", "updated_at", "batch_started_at", "batch_completed_at")
TIME_TYPES = ("timestamp without time zone", "timestamp with time zone", "date")
RUNNING_WITHIN = timedelta(days=7)


# SQL over a row of a table, for the row's alias.
Condition = Callable[[sql.Composable], sql.Composed]


@dataclass(frozen=True)
class Protection:
    """Rows of a table, by oid, that stay."""

    oid: int
    reason: str
    of_row: Condition

    def condition(self, alias: str) -> sql.Composed:
        """Whether a row of the table under that alias stays."""
        return self.of_row(sql.Identifier(alias))


@dataclass(frozen=True)
class Stuck:
    """A batch or campaign in a state of running in which nothing happened since; `rows` are its calls."""

    kind: str
    id: str
    name: str | None
    status: str
    since: str
    rows: int | None


@dataclass(frozen=True)
class Activity:
    """What counts as running: something happened after `now - within`; `zone` is that of times without one."""

    now: datetime
    zone: tzinfo
    within: timedelta = RUNNING_WITHIN

    def literal(self, kind: str) -> sql.Composed:
        """The moment from which on something counts, as a value of a type of `TIME_TYPES`."""
        moment = (self.now - self.within).replace(microsecond=0)
        local = moment.astimezone(self.zone).replace(tzinfo=None)
        text = moment.astimezone(UTC).isoformat() if kind == TIME_TYPES[1] else local.isoformat(sep=" ")
        return sql.SQL("{}::pg_catalog.{}").format(
            sql.Literal(local.date().isoformat() if kind == "date" else text),
            sql.SQL({TIME_TYPES[0]: "timestamp", TIME_TYPES[1]: "timestamptz"}.get(kind, "date")),
        )


class Tables:
    """The tables that are protected, as far as this database has them, and their columns by type."""

    def __init__(self, connection: Connection, schema: Schema) -> None:
        self.connection = connection
        self.oids = {(relation.schema, relation.name): relation.oid for relation in schema.relations.values()}
        self.known: dict[tuple[str, str], Mapping[str, str]] = {}

    def columns(self, table: tuple[str, str]) -> Mapping[str, str]:
        """The types of a table's columns by name; none for a table that is missing."""
        if table not in self.known:
            rows = []
            if table in self.oids:
                rows = fetch(self.connection, load_query("maintain/columns"), {"oid": self.oids[table]})
            self.known[table] = {row["name"]: row["base"] for row in rows}
        return self.known[table]

    def has(self, table: tuple[str, str], *names: str) -> bool:
        """Whether there is such a table with such columns."""
        return self.columns(table).keys() >= set(names)

    def times(self, table: tuple[str, str], names: Sequence[str]) -> dict[str, str]:
        """Those of the columns that are there and hold times, with their types."""
        columns = self.columns(table)
        return {name: columns[name] for name in names if columns.get(name) in TIME_TYPES}


def is_recent(row: sql.Composable, times: Mapping[str, str], activity: Activity) -> sql.Composed:
    """Whether one of a row's times is recent."""
    cases = [
        sql.SQL("coalesce({}.{} OPERATOR(pg_catalog.>=) {}, false)").format(
            row, sql.Identifier(name), activity.literal(kind)
        )
        for name, kind in times.items()
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(cases) if cases else sql.SQL("false"))


def latest(row: sql.Composable, times: Mapping[str, str]) -> sql.Composed:
    """The latest of a row's times."""
    casts = [sql.SQL("{}.{}::pg_catalog.timestamptz").format(row, sql.Identifier(name)) for name in times]
    return sql.SQL("greatest({})").format(sql.SQL(", ").join([*casts, sql.SQL("NULL::pg_catalog.timestamptz")]))


def is_running(
    row: sql.Composable, state: str, times: Mapping[str, str], activity: Activity, stuck: Collection[Stuck]
) -> sql.Composed:
    """Whether a row is in an open state and not one of those that are stuck, unless it was written to since."""
    is_open = sql.SQL(state).format(row=row)
    if not stuck:
        return is_open
    return sql.SQL(
        "({} AND ({} OR {}.id::pg_catalog.text OPERATOR(pg_catalog.<>) ALL ({}::pg_catalog.text[])))"
    ).format(is_open, is_recent(row, times, activity), row, sql.Literal([one.id for one in stuck]))


def calls_of(running: Condition) -> Condition:
    """Whether a call is one of a running batch."""
    batches = sql.SQL("SELECT batch.id FROM public.batch_calls AS batch WHERE {}").format(running(sql.SQL("batch")))

    def condition(row: sql.Composable) -> sql.Composed:
        return sql.SQL("coalesce({}.batch_call_id OPERATOR(pg_catalog.=) ANY ({}), false)").format(row, batches)

    return condition


def read_protections(
    connection: Connection, schema: Schema, emptied: Collection[int], activity: Activity
) -> tuple[tuple[Protection, ...], tuple[Stuck, ...]]:
    """The protections of tables that rows are deleted from, given by their topmost tables, and what is stuck."""
    tables = Tables(connection, schema)
    wanted = {table for table, oid in tables.oids.items() if schema.relations[oid].top in emptied}
    found: list[Protection] = []
    stuck: list[Stuck] = []
    running: Condition | None = None
    if tables.has(BATCHES, "id", "status") and wanted & {BATCHES, CALLS, CAMPAIGNS}:
        batches = find_stuck_batches(connection, tables, activity)
        times = tables.times(BATCHES, BATCH_TIMES)
        running = partial(is_running, state=OPEN_BATCH, times=times, activity=activity, stuck=batches)
        if BATCHES in wanted:
            found.append(Protection(tables.oids[BATCHES], "running batches", running))
        if CALLS in wanted and tables.has(CALLS, "batch_call_id"):
            found.append(Protection(tables.oids[CALLS], "calls of running batches", calls_of(running)))
        if wanted & {BATCHES, CALLS}:
            stuck += batches
    if CAMPAIGNS in wanted and tables.has(CAMPAIGNS, "batch_status"):
        campaigns = find_stuck_campaigns(connection, tables, activity, running)
        times = tables.times(CAMPAIGNS, CAMPAIGN_TIMES)
        condition = partial(is_running, state=OPEN_CAMPAIGN, times=times, activity=activity, stuck=campaigns)
        found.append(Protection(tables.oids[CAMPAIGNS], "campaigns with a running batch", condition))
        stuck += campaigns
    return tuple(found), tuple(stuck)


def find_stuck_batches(connection: Connection, tables: Tables, activity: Activity) -> list[Stuck]:
    """The batches in an open state in which nothing happened for long, the oldest first.

    The calls are read once, by the index on their batch where there is one, and only those of batches
    that were not written to for long. A batch of which no time is known counts as running.
    """
    own, row, call = tables.times(BATCHES, BATCH_TIMES), sql.Identifier("batch"), sql.Identifier("call")
    of_calls = sql.SQL(
        "SELECT NULL::pg_catalog.text AS id, NULL::pg_catalog.int8 AS rows, NULL::pg_catalog.bool AS is_recent,"
        " NULL::pg_catalog.timestamptz AS latest WHERE false"
    ).format()
    if tables.has(CALLS, "batch_call_id"):
        times = tables.times(CALLS, CALL_TIMES)
        of_calls = sql.SQL(load_template("maintain/calls-of-batches")).format(
            recent=is_recent(call, times, activity), latest=latest(call, times)
        )
    statement = sql.SQL(load_template("maintain/stuck-batches")).format(
        name=sql.SQL("batch.batch_id::pg_catalog.text" if tables.has(BATCHES, "batch_id") else "NULL::pg_catalog.text"),
        latest=latest(row, own),
        open=sql.SQL(OPEN_BATCH).format(row=row),
        recent=is_recent(row, own, activity),
        calls=of_calls,
    )
    with application_path(connection):
        return [Stuck("batch", *found) for found in connection.execute(statement)]


def find_stuck_campaigns(
    connection: Connection, tables: Tables, activity: Activity, running: Condition | None
) -> list[Stuck]:
    """The campaigns in an open state in which nothing happened for long, and that have no running batch."""
    times, row, batch = tables.times(CAMPAIGNS, CAMPAIGN_TIMES), sql.Identifier("campaign"), sql.Identifier("batch")
    if not times or not tables.has(CAMPAIGNS, "id"):
        return []
    joins = [
        sql.SQL("batch.{}::pg_catalog.text OPERATOR(pg_catalog.=) campaign.{}::pg_catalog.text").format(
            sql.Identifier(one), sql.Identifier(other)
        )
        for one, other in (("group_id", "id"), ("batch_id", "batch_id"))
        if tables.has(BATCHES, one) and tables.has(CAMPAIGNS, other)
    ]
    batches: sql.Composable = sql.SQL("false")
    if running is not None and joins:
        batches = sql.SQL("EXISTS (SELECT FROM public.batch_calls AS batch WHERE {} AND ({}))").format(
            running(batch), sql.SQL(" OR ").join(joins)
        )
    statement = sql.SQL(load_template("maintain/stuck-campaigns")).format(
        name=sql.SQL("campaign.name::pg_catalog.text" if tables.has(CAMPAIGNS, "name") else "NULL::pg_catalog.text"),
        latest=latest(row, times),
        open=sql.SQL(OPEN_CAMPAIGN).format(row=row),
        recent=is_recent(row, times, activity),
        batches=batches,
    )
    with application_path(connection):
        return [Stuck("campaign", *found) for found in connection.execute(statement)]
