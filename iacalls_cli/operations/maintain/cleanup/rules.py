"""What is old: the two rules of the document, those of the config file, and what no rule ever deletes.

A rule is checked against the live schema before anything runs, and its cut-off is fixed then.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

import psycopg
from psycopg import sql

from iacalls_cli.config.built_in_rules import BUILT_IN_RULES
from iacalls_cli.config.checks import read_rule_age
from iacalls_cli.config.definition import BUILT_IN, RuleSettings
from iacalls_cli.database.connection import Connection
from iacalls_cli.database.failures import translate
from iacalls_cli.database.rows import fetch
from iacalls_cli.database.search_path import application_path
from iacalls_cli.database.sqlstates import READ_ONLY
from iacalls_cli.errors import ConnectionFailed, DatabaseError, IacallsError, UsageError
from iacalls_cli.operations.maintain.cleanup.privileges import RIGHTS, require_privileges
from iacalls_cli.queries import load_query
from iacalls_cli.text import relation_name

# A table's name as SQL has it, perhaps quoted.
QUALIFIED = re.compile(r"""(?:(?P<schema>"(?:[^"]|"")+"|[^".]+)\.)?(?P<name>"(?:[^"]|"")+"|[^".]+)""")
AGE_TYPES = ("timestamp without time zone", "timestamp with time zone", "date")
# Deleting a client sets call_records.client_id to NULL, and the trigger makes updated_at of
# calls that are 90 days old today's.
NEVER_AN_AGE = "updated_at"
# A text that is no number, a division by zero: the message may name the value. And what a function that writes meets.
DATA_EXCEPTION = "22"  # the class
# The name of a filter as the column of a view; quoted always.
CONDITION = sql.Identifier("iacalls condition")


@dataclass(frozen=True)
class Rule:
    """Rows of a table whose `age_column` is longer ago than `age` and that fit `filter`, SQL or ''."""

    name: str
    schema: str
    table: str
    age_column: str
    age: timedelta
    filter: str = ""
    has_archive: bool = True
    # The table as the config file names it, where that may be read in several ways.
    spelling: str = ""

    def __str__(self) -> str:
        return relation_name(self.schema, self.table)


@dataclass(frozen=True)
class BoundRule:
    """A rule on the live schema: its table's oid, and the cut-off in the age column's own terms.

    `filter` is the rule's, as it has to be written where names are found by the application's search_path.
    """

    rule: Rule
    oid: int
    age_type: str
    cut_off: datetime
    stored_cut_off: str
    filter: str = ""

    @property
    def condition(self) -> sql.Composed:
        """What is old, as SQL over an alias that is the table's own name; for the application's search_path."""
        return self.condition_with(self.filter)

    @property
    def plain_condition(self) -> sql.Composed:
        """The same for our own search_path."""
        return self.condition_with(self.rule.filter)

    def condition_with(self, text: str) -> sql.Composed:
        """What is old, with the filter written in one way."""
        age = sql.SQL("{}.{} OPERATOR(pg_catalog.<) {}::{}").format(
            sql.Identifier(self.rule.table),
            sql.Identifier(self.rule.age_column),
            sql.Literal(self.stored_cut_off),
            sql.SQL("pg_catalog.date" if self.age_type == "date" else self.age_type),
        )
        return sql.SQL("{} AND {}").format(age, as_condition(text)) if text else age


def as_condition(text: str) -> sql.SQL:
    """A rule's filter in parentheses; the line breaks end a comment in it."""
    return sql.SQL(f"(\n{text}\n)")


def built_in_rules(days: int, failed_call_days: int) -> list[Rule]:
    """Return the built-in rules. `days` is for WhatsApp alone: it never makes the age of calls shorter."""
    chosen = {"whatsapp": days, "failed-calls": failed_call_days}
    return [
        Rule(row.name, "public", row.table, row.age_column, timedelta(days=chosen.get(row.name, row.days)), row.filter)
        for row in BUILT_IN_RULES
    ]


def configured_rules(settings: Mapping[str, RuleSettings]) -> list[Rule]:
    """The config file's; raises `UsageError` for an age that is none."""
    return [configured_rule(rule) for rule in settings.values()]


def configured_rule(settings: RuleSettings) -> Rule:
    """One rule of the config file."""
    schema, _, table = settings.table.rpartition(".")
    age = read_rule_age(f"maintain.rules.{settings.name}.age", settings.age)
    return Rule(
        settings.name, schema or "public", table, settings.age_column, age, settings.filter, settings.archive,
        spelling=settings.table,
    )  # fmt: skip


def choose_rules(rules: Iterable[Rule], only: Iterable[str]) -> list[Rule]:
    """The rules that are named, or all; raises `UsageError` for a name that none has."""
    rules, wanted = list(rules), list(only)
    names = [rule.name for rule in rules]
    for name in wanted:
        if name not in names:
            raise UsageError(f"there is no rule {name!r}", f"the rules are: {', '.join(names)}")
    return [rule for rule in rules if not wanted or rule.name in wanted]


def bind_rule(connection: Connection, rule: Rule, now: datetime, zone: tzinfo) -> BoundRule:
    """Check a rule against the live schema and fix its cut-off.

    `zone` is that of stored times without one. Raises `UsageError` saying what does not fit,
    `DatabaseError` where the database has no such table or this role too few rights.
    """
    rule, oid = find_table(connection, rule)
    require_privileges(connection, rule.name, str(rule), oid, RIGHTS)
    if rule.age_column == NEVER_AN_AGE:
        raise UsageError(
            f"rule {rule.name}: {NEVER_AN_AGE} says when a row was last written, not how old it is",
            "deleting a client makes it today's on every call of theirs; use created_at",
        )
    columns = {row["name"]: row["base"] for row in fetch(connection, load_query("maintain/columns"), {"oid": oid})}
    age_type = columns.get(rule.age_column)
    if age_type not in AGE_TYPES:
        fitting = ", ".join(name for name, kind in columns.items() if kind in AGE_TYPES and name != NEVER_AN_AGE)
        what = f"is of type {age_type}" if age_type else "does not exist"
        raise UsageError(
            f"rule {rule.name}: the age column {rule.age_column} of {rule} {what}",
            f"columns with a time: {fitting or 'none'}",
        )
    if rule.filter:
        check_filter(connection, rule)
    cut_off, stored = cut_off_of(rule, now, zone, age_type)
    return BoundRule(rule, oid, age_type, cut_off, stored, qualify_filter(connection, rule))


def find_table(connection: Connection, rule: Rule) -> tuple[Rule, int]:
    """The rule with its table as it is called here, and its oid.

    Raises `UsageError` if its name may mean two tables: then it has to be written in quotes.
    """
    names = dict.fromkeys([(rule.schema, rule.table), *readings(rule.spelling)])
    query = load_query("maintain/rule-table")
    known = [
        (schema, name, row["oid"], row["kind"] in "rp")
        for schema, name in names
        for row in fetch(connection, query, {"schema": schema, "name": name})
    ]
    tables = [(schema, name, oid) for schema, name, oid, is_table in known if is_table]
    if len(tables) > 1:
        quoted = " or ".join(f"""'"{schema}"."{name}"'""" for schema, name, _ in tables)
        raise UsageError(
            f"rule {rule.name}: {rule.spelling} may be {len(tables)} tables of this database", f"write table = {quoted}"
        )
    if not tables:
        raise missing_table(rule, "is not a table of this database" if known else "does not exist in this database")
    [(schema, name, oid)] = tables
    return replace(rule, schema=schema, table=name), oid


def readings(spelling: str) -> Iterator[tuple[str, str]]:
    """What a table's name may mean: names and schemas with dots in them, and what is quoted as in SQL.

    >>> list(readings('a.b.c'))
    [('public', 'a.b.c'), ('a', 'b.c'), ('a.b', 'c')]
    >>> list(readings('app."Order.Items"'))
    [('public', 'app."Order.Items"'), ('app', 'Order.Items')]
    """
    if not spelling:
        return
    yield "public", spelling
    if '"' not in spelling:
        for dot, character in enumerate(spelling):
            if character == ".":
                yield spelling[:dot], spelling[dot + 1 :]
    elif match := QUALIFIED.fullmatch(spelling):
        schema, name = (
            part[1:-1].replace('""', '"') if part.startswith('"') else part
            for part in (match["schema"] or "public", match["name"])
        )
        yield schema, name


def missing_table(rule: Rule, what: str) -> IacallsError:
    """The error for a rule whose table is not there: a database without it, or a config file with a wrong name."""
    message = f"rule {rule.name}: {rule} {what}"
    if rule.name in BUILT_IN:
        return DatabaseError(
            message, "`iacalls db verify` compares the schema; the other rules can be cleaned up alone"
        )
    return UsageError(message, f"correct maintain.rules.{rule.name} in the config file")


def check_filter(connection: Connection, rule: Rule) -> None:
    """Raise `UsageError` unless a rule's filter is one condition over its table.

    It has to stand alone as well as in parentheses: `true) OR (true` does only the one, and
    `true UNION SELECT true` only the other.
    """
    table = sql.SQL("FROM {} AS {}").format(sql.Identifier(rule.schema, rule.table), sql.Identifier(rule.table))
    bare = sql.SQL(f"\n{rule.filter}\n")
    tries = (
        sql.SQL("SELECT {} {} LIMIT 0").format(bare, table),
        sql.SQL("SELECT 1 {} WHERE {} LIMIT 0").format(table, as_condition(rule.filter)),
    )
    try:
        for statement in tries:
            parse(connection, statement)
    except DatabaseError as error:
        raise UsageError(
            f"rule {rule.name}: its filter is not a condition over {rule}: {error.message}",
            "write one SQL condition, like status = 'failed'; other tables and operators with their schema",
        ) from None


def parse(connection: Connection, statement: sql.Composed) -> None:
    """Have the server read a statement, without planning it: functions of the table's indexes may need another path.

    Raises `DatabaseError`, also for a parameter.
    """
    pgconn = connection.pgconn
    for result in (pgconn.prepare(b"", statement.as_bytes(connection)), pgconn.describe_prepared(b"")):
        if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
            raise translate(psycopg.errors.error_from_result(result))
    if result.nparams:
        raise DatabaseError("there is no parameter $1")


def qualify_filter(connection: Connection, rule: Rule) -> str:
    """A rule's filter with the same meaning under the application's search_path as under our own.

    The server reads it as a view, and writes it for the other path: with the schema of each operator and
    function for which others are found there. Nothing of that stays. Where the role may make no
    temporary view, it is the filter as it was written.
    """
    if not rule.filter:
        return ""
    view = sql.Identifier("pg_temp", "iacalls_filter")
    statement = sql.SQL("CREATE TEMPORARY VIEW iacalls_filter AS SELECT {} IS TRUE AS {} FROM {} AS {}").format(
        as_condition(rule.filter), CONDITION, sql.Identifier(rule.schema, rule.table), sql.Identifier(rule.table)
    )
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
            (oid,) = connection.execute("SELECT %s::regclass::oid", [view.as_string(connection)]).fetchone() or (0,)
            with application_path(connection):
                text = connection.execute("SELECT pg_catalog.pg_get_viewdef(%s::pg_catalog.oid)", [oid]).fetchone()
    except ConnectionFailed:
        raise
    except DatabaseError:
        return rule.filter
    definition: str = text[0] if text else ""
    condition, found, _ = definition.strip().removeprefix("SELECT ").rpartition(f" AS {CONDITION.as_string(None)}")
    return condition if found else rule.filter


@contextmanager
def naming_filter(rule: Rule) -> Iterator[None]:
    """Say of which rule the filter fails on a row, and not with which value, which is somebody's telephone number."""
    try:
        yield
    except DatabaseError as error:
        if not rule.filter or not error.sqlstate.startswith((DATA_EXCEPTION, READ_ONLY)):
            raise
        is_of_a_value = error.sqlstate.startswith(DATA_EXCEPTION)
        what = f"fails on a row of {rule}" if is_of_a_value else f"cannot be asked: {error.message}"
        hint = "make it a condition that every row can be asked, and that changes nothing"
        raise DatabaseError(f"rule {rule.name}: its filter {what}", hint) from None


def cut_off_of(rule: Rule, now: datetime, zone: tzinfo, age_type: str) -> tuple[datetime, str]:
    """The moment before which rows are old, and the same as the age column stores it; in whole seconds, as shown."""
    now = now.replace(microsecond=0)
    try:
        if age_type == "timestamp with time zone":
            cut_off = now.astimezone(UTC) - rule.age
            return cut_off, cut_off.isoformat()
        local = now.astimezone(zone).replace(tzinfo=None) - rule.age
    except OverflowError:
        raise UsageError(f"rule {rule.name}: {rule.age.days} days ago is before all time", "give fewer days") from None
    stored = local.date().isoformat() if age_type == "date" else local.isoformat(sep=" ")
    if age_type == "date":
        local = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return local.replace(tzinfo=zone), stored
