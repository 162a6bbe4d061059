"""Proving a backup: restored into a scratch database, compared with its manifest, and used there."""

import re
from collections.abc import Iterator
from dataclasses import replace

from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.database.rows import fetch, stream
from iacalls_cli.errors import DatabaseError, IacallsError
from iacalls_cli.operations.backup.catalog import load_catalog
from iacalls_cli.operations.backup.compatibility import STAND_IN_FUNCTIONS
from iacalls_cli.operations.backup.dump import Progress
from iacalls_cli.operations.backup.manifest import Manifest
from iacalls_cli.operations.backup.new_database import RestorePlan, Server
from iacalls_cli.operations.backup.restore import Restored, restored_database
from iacalls_cli.operations.backup.store import Backup
from iacalls_cli.operations.backup.verify import REHEARSAL as REHEARSAL_DAMAGE
from iacalls_cli.operations.backup.verify import record
from iacalls_cli.operations.db.catalog import ObjectKey
from iacalls_cli.operations.db.compare import compare, finding_of
from iacalls_cli.operations.db.temporary import REHEARSAL
from iacalls_cli.operations.db.verify import read_catalog
from iacalls_cli.operations.files import utc_now
from iacalls_cli.operations.report import bind_values
from iacalls_cli.queries import load_query, load_topic
from iacalls_cli.values import make_clock

NAMED_DIFFERENCES = 5
VIEWS = ("view", "materialized view")
# What a row's updated_at is set to: what it is, and a moment that only a trigger can overrule. Some
# triggers act only where a row changes, others only where the statement sets no time of its own.
UPDATES = ("before.updated_at", "timestamp '2000-01-01'")


def rehearse(
    server: Server, backup: Backup, plan: RestorePlan, where: str, progress: Progress
) -> tuple[Backup, list[tuple[str, str]], Restored]:
    """Restore a backup into a scratch database, check it there, and record the outcome.

    Returns the backup as it is now, what each check found (check, finding or ''), and what else is
    to be said. `where` names the server. The scratch database is gone afterwards. Raises
    `IacallsError` where the restore itself fails; that is recorded, and not as damage, because it
    may be the scratch server's fault.
    """
    manifest = plan.dump.manifest
    assert manifest is not None  # noqa: S101, only our own backups are rehearsed
    name = manifest.database["name"]
    try:
        with (
            restored_database(server, name, REHEARSAL, plan, "", progress) as restored,
            server.open_database(restored.name) as connection,
        ):
            outcomes = list(check_restored(connection, backup, manifest, restored))
    except IacallsError as error:
        record(backup.folder, replace(backup.proof, failure=f"the last rehearsal failed: {error.message}"))
        raise
    damage = "; ".join(f"{check}: {finding}" for check, finding in outcomes if finding)
    if damage:
        # What was proven once is not so any more, whatever a later look at the files says.
        proof = replace(backup.proof, damage=REHEARSAL_DAMAGE + damage, failure="", proven_at="", proven_on="")
    else:
        now = utc_now()
        proof = replace(backup.proof, damage="", failure="", verified_at=now, proven_at=now, proven_on=where)
    record(backup.folder, proof)
    return replace(backup, proof=proof, problem=""), outcomes, restored


def check_restored(
    connection: Connection, backup: Backup, manifest: Manifest, restored: Restored
) -> Iterator[tuple[str, str]]:
    """What each check finds, '' where all is well."""
    yield "rows", "; ".join(restored.differences)
    yield "large objects", compare_large_objects(connection, manifest)
    yield "catalogue", compare_catalog(connection, backup, manifest.server_major, restored)
    yield "triggers", "; ".join(fire_triggers(connection))
    yield "reports", "; ".join(run_reports(connection, manifest))


def compare_large_objects(connection: Connection, manifest: Manifest) -> str:
    """Whether as many large objects came back."""
    if manifest.contents == "schema":
        return ""
    row = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    found = row[0] if row else 0
    return "" if found == manifest.large_objects else f"{found} came back of {manifest.large_objects}"


def compare_catalog(connection: Connection, backup: Backup, major: int, restored: Restored) -> str:
    """Whether tables, keys, indexes, triggers, functions and views are those of the backup.

    What this server cannot have was left out and named, and is no difference; nor is a stand-in.
    """
    known, uncompared = load_catalog(backup.folder)
    expected = {key: text for key, text in known.items() if key.kind not in uncompared}
    found = {key: text for key, text in read_catalog(connection).items() if key.kind not in uncompared}
    if restored.stand_ins:
        found = {key: text for key, text in found.items() if not STAND_IN_FUNCTIONS.match(key.name)}
    differences = [
        one for one in compare(expected, found) if not (one.found is None and is_left_out(one.key, restored))
    ]
    if connection.info.server_version // 10_000 != major:
        # Each version writes a view's query in its own way.
        differences = [one for one in differences if not (one.key.kind in VIEWS and one.expected and one.found)]
    findings = [finding_of(difference) for difference in differences]
    named = [f"{finding.object} {finding.finding}" for finding in findings[:NAMED_DIFFERENCES]]
    if len(findings) > len(named):
        named.append(f"and {len(findings) - len(named)} more")
    return "; ".join(named)


def is_left_out(key: ObjectKey, restored: Restored) -> bool:
    """Whether an object was left out of the restored database, because this server cannot have it."""
    name = (key.name or key.relation).split("(")[0]
    return any(re.match(rf"[A-Z ]+ (?:\S+\.)?{re.escape(name)}(?:\W|$)", left) for left in restored.left_out)


def fire_triggers(connection: Connection) -> Iterator[str]:
    """Update a row of every table that keeps its updated_at by a trigger, and undo it: the trigger has to act."""
    for row in fetch(connection, load_query("backup/touched-tables")):
        try:
            has_acted = any(touch_row(connection, row["schema"], row["name"], value) for value in UPDATES)
        except DatabaseError as error:
            yield f"{row['name']} cannot be updated: {error.message}"
            continue
        if not has_acted:
            yield f"the trigger of {row['name']} does not set updated_at"


def touch_row(connection: Connection, schema: str, table: str, value: str) -> bool:
    """Set one row's updated_at, and undo it; whether it became something else, or there is no row."""
    update = sql.SQL(
        "WITH before AS MATERIALIZED (SELECT ctid, updated_at FROM ONLY {table} LIMIT 1)"
        " UPDATE ONLY {table} AS after SET updated_at = {value} FROM before WHERE after.ctid = before.ctid"
        " RETURNING after.updated_at IS DISTINCT FROM {value}"
    ).format(table=sql.Identifier(schema, table), value=sql.SQL(value))
    with connection.transaction(force_rollback=True):
        # As an application has it: functions of schema public are written for that.
        path = sql.SQL("SET LOCAL search_path = {}, public").format(sql.Identifier(schema))
        connection.execute(path)
        found = connection.execute(update).fetchone()
    return found is None or bool(found[0])


def run_reports(connection: Connection, manifest: Manifest) -> Iterator[str]:
    """Run every report that ran on the original, to its last row; one that iacalls no longer has is left out."""
    for query in load_topic("report"):
        name = query.name.removeprefix("report/")
        if name not in manifest.reports:
            continue
        given = {parameter.name: 1 for parameter in query.parameters if parameter.is_required}
        try:
            for _ in stream(connection, query, bind_values(query, given, make_clock("UTC"))).rows:
                pass
        except IacallsError as error:
            yield f"{name} fails: {error.message}"
