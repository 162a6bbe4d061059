"""Rows that lost a reference, and get it back where it is still missing."""

from collections.abc import Sequence

from psycopg import sql

from iacalls_cli.operations.maintain.staging import GONE, STAGED, TOUCHED, Outcome, Staging, names


def refer(staging: Staging) -> Outcome:
    """Give the rows their lost references back; everything else of them stays.

    A row that nobody wrote to meanwhile also gets its updated_at back, with the triggers disabled in
    this transaction alone: that takes the table's owner, and keeps writers away for as long.
    """
    before = len(unreferred(staging))
    heritage = staging.schema.heritage(staging.relation)
    triggers = [one.name for one in staging.schema.triggers if one.on_update and one.relation in heritage]
    if triggers:
        switch(staging, triggers, "DISABLE")
    others = staging.lasting()
    untouched = sql.SQL("ROW({})::text = ROW({})::text").format(names(others, "t"), names(others, "c"))
    for key in staging.changing():
        values = [sql.SQL("{0} = c.{0}").format(sql.Identifier(name)) for name in key.changed]
        if TOUCHED in staging.file.columns:
            updated = sql.Identifier(TOUCHED)
            values.append(sql.SQL("{0} = CASE WHEN {1} THEN c.{0} ELSE t.{0} END").format(updated, untouched))
        is_lost = [
            sql.SQL("t.{} IS NOT DISTINCT FROM ({})").format(sql.Identifier(name), sql.SQL(value))
            for name, value in zip(key.changed, key.lost, strict=True)
        ]
        is_known = [sql.SQL("c.{} IS NOT NULL").format(sql.Identifier(name)) for name in key.columns]
        statement = sql.SQL(
            "UPDATE ONLY {table} AS t SET {values} FROM {staged} AS c WHERE {key} AND {lost} AND NOT {orphan}"
        ).format(
            table=staging.relation.identifier,
            values=sql.SQL(", ").join(values),
            staged=STAGED,
            key=staging.same_key(),
            lost=sql.SQL(" AND ").join([*is_lost, *is_known]),
            orphan=staging.is_orphan(key, together=False),
        )
        staging.connection.execute(statement)
    if triggers:
        switch(staging, triggers, "ENABLE")
    conflicts = unreferred(staging)
    return before - len(conflicts), staging.count() - before, conflicts


def switch(staging: Staging, triggers: Sequence[str], what: str) -> None:
    """Disable or enable triggers, for this transaction."""
    for name in triggers:
        always = sql.SQL("ALWAYS ") if what == "ENABLE" and name in staging.schema.always_fired else sql.SQL("")
        staging.connection.execute(
            sql.SQL("ALTER TABLE {} {} {}TRIGGER {}").format(
                staging.relation.identifier, sql.SQL(what), always, sql.Identifier(name)
            )
        )


def unreferred(staging: Staging) -> list[tuple[str, str]]:
    """The rows whose references are not as they were, and why.

    One that was lost earlier, as a row's older version in the archive knows, does not matter.
    """
    same = sql.SQL("EXISTS (SELECT FROM ONLY {} AS t WHERE {})").format(
        staging.relation.identifier, sql.SQL(" AND ").join([staging.same_key(), *staging.same_references()])
    )
    there = sql.SQL("EXISTS (SELECT FROM ONLY {} AS t WHERE {})").format(
        staging.relation.identifier, staging.same_key()
    )
    statement = sql.SQL(
        "SELECT concat_ws(', ', {}), CASE WHEN {} THEN 'it refers to something else now' ELSE {} END"
        " FROM {} AS c WHERE NOT {}"
    ).format(names(staging.key, "c"), there, sql.Literal(GONE), STAGED, same)
    return list(staging.connection.execute(statement))
