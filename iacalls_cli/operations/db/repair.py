"""The SQL script that makes a database as the schema has it; for reading, and running by hand.

One transaction in the order in which the objects need each other, so that it changes all or
nothing; then, outside of it, what would hold locks for long on a live system: indexes are
built CONCURRENTLY, keys and checks are added NOT VALID and validated afterwards.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iacalls_cli.operations.db.catalog import (
    OF_COLUMNS,
    RELATIONS,
    ObjectKey,
    expected_catalog,
)
from iacalls_cli.operations.db.columns import (
    lines,
    make_sequence,
    move_sequence,
    own_sequence,
    stop_generating,
    widen_sequence,
)
from iacalls_cli.operations.db.compare import TAKES_NO_VALUE, Difference
from iacalls_cli.operations.db.statements import (
    commented,
    create,
    is_view,
    qualify,
    quote_name,
    schema_tables,
    statements_about,
    views_reading,
)
from iacalls_cli.text import one_line

# The order of the transaction. Views are dropped first where a column under them changes its
# type, which PostgreSQL refuses otherwise, and made again last.
ORDER = (
    "rename", "view options", "drop view", "drop key", "persistence", "function", "generated", "column", "default",
    "not null", "sequence range", "sequence", "primary key", "unique", "table", "check", "foreign key", "trigger",
    "view", "decision", "index", "afterwards",
)  # fmt: skip
AFTER_COMMIT = ORDER.index("index")
# A date, with a time of day and an offset if there are any; no digits that a timestamp would round away.
ISO_TIME = (
    r"^\s*(\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?\s*(Z|[+-]\d\d(:?\d\d(:\d\d)?)?)?)?|[+-]?infinity)\s*$"
)
SETTINGS = (
    ("TimeZone", "'UTC'"),
    ("DateStyle", "'ISO, YMD'"),
    ("IntervalStyle", "'postgres'"),
    ("extra_float_digits", "1"),
    ("bytea_output", "'hex'"),
    ("standard_conforming_strings", "on"),
)


@dataclass(frozen=True)
class Step:
    """One statement, or a few, at its place in `ORDER`, with what it mends."""

    place: str
    about: str
    sql: str


def repair_script(differences: Iterable[Difference]) -> str:
    """The script that mends the problems among `differences`."""
    order = schema_tables()
    problems = [difference for difference in differences if difference.verdict == "problem"]
    # A table stands behind those it references.
    problems.sort(key=lambda problem: order.index(problem.key.relation) if problem.key.relation in order else -1)
    of_views = [problem for problem in problems if is_view(problem.key.relation)]
    of_tables = [problem for problem in problems if problem not in of_views]
    left = left_to_people(problems)
    steps = list(dict.fromkeys([*table_steps(of_tables, left), *view_steps(of_views, of_tables, left)]))
    steps.sort(key=lambda step: ORDER.index(step.place))
    inside = [step for step in steps if ORDER.index(step.place) < AFTER_COMMIT]
    outside = [step for step in steps if ORDER.index(step.place) >= AFTER_COMMIT]
    script = [
        "-- Makes this database as the documented schema. Read it before you run it:",
        "--   psql -v ON_ERROR_STOP=1 -f FILE",
        "-- then run `iacalls db verify` again. What it leaves to you stands there as a comment.",
        "SET search_path = pg_catalog, pg_temp;",
        "SET lock_timeout = '2s';",
        "-- Times, numbers and bytes are read and written in one way, whatever the session has set.",
        *(f"SET {name} = {value};" for name, value in SETTINGS),
    ]
    if inside:
        script += ["", "BEGIN;", *written(inside), "", "COMMIT;"]
    if outside:
        script += ["", "-- Outside of a transaction, so that the application need not wait.", *written(outside)]
    return "\n".join(script)


def written(steps: Iterable[Step]) -> Iterator[str]:
    """The lines of some steps, each under what it mends."""
    for step in steps:
        yield from ("", f"-- {one_line(step.about)}", step.sql)


@dataclass(frozen=True)
class Left:
    """What the script leaves as it is: columns (table, column), and tables that cannot be referenced."""

    columns: frozenset[tuple[str, str]]
    tables: frozenset[str]

    def reason(self, relation: str, text: str) -> str:
        """Return why a statement of `text` about `relation` has to wait, or ''."""
        for table in sorted(self.tables):
            if re.search(rf"\bREFERENCES (public\.)?{re.escape(table)}\b", text):
                return f"table {table} is left as it is"
        for table, column in sorted(self.columns):
            is_read = relation == table or re.search(rf"\b{re.escape(table)}\b", text)
            if is_read and re.search(rf"(?<![\w-]){re.escape(column)}(?![\w-])", text):
                return f"column {table}.{column} is left as it is"
        return ""


def left_to_people(problems: Iterable[Difference]) -> Left:
    """What takes a decision, so that what needs it has to wait for that."""
    columns, tables = set[tuple[str, str]](), set[str]()
    for problem in problems:
        key = problem.key
        if key.kind == "column" and ((problem.instead and problem.found is None) or problem.obstacle):
            columns.add((key.relation, key.name))
        if key.kind == "generated" and (problem.found or "").endswith("VIRTUAL"):
            columns.add((key.relation, key.name))
        if (key.kind == "table" and (problem.instead or problem.found)) or (
            key.kind == "primary key" and problem.obstacle
        ):
            tables.add(key.relation)
    return Left(frozenset(columns), frozenset(tables))


def table_steps(problems: Iterable[Difference], left: Left) -> Iterator[Step]:
    """The steps that mend tables and functions, unordered."""
    known = list(problems)
    for problem in known:
        key, about = problem.key, f"{problem.key}: {problem}"
        waits = problem.obstacle if key.kind != "foreign key" else ""
        if not waits and key.kind not in ("column", "table") and key.name:
            name = key.name if key.kind in OF_COLUMNS else ""
            waits = left.reason(key.relation, f"{name} {problem.expected or ''}")
        if key.kind == "table" and not problem.instead and not problem.found:
            waits = left.reason("", "\n".join(statements_about(key.relation)))
        if not waits and (taken := problem.taken_by) and taken in RELATIONS:
            waits = f"a {taken} has that name"
        for place, statement in renaming(problem, waits) + list(statements_for(problem)):
            is_validation = problem.obstacle and key.kind == "foreign key" and place == "afterwards"
            if (waits or is_validation) and place != "decision":
                reason = waits or problem.obstacle
                listed = duplicates_query(problem) if place == key.kind else ""
                yield Step("decision", about, f"-- First, {one_line(reason)}{listed}. Then:\n{commented(statement)}")
            else:
                yield Step(place, about, statement)
        if not waits:
            yield from key_steps(problem, known)


def duplicates_query(problem: Difference) -> str:
    """A query that lists the values of a key that occur more than once, or ''."""
    columns = re.search(r"\((.*?)\)", problem.expected or "")
    if problem.key.kind not in ("unique", "primary key") or not problem.obstacle or not columns:
        return ""
    table = qualify(problem.key.relation)
    return f" (SELECT {columns[1]}, count(*) FROM {table} GROUP BY {columns[1]} HAVING count(*) > 1)"  # noqa: S608


def renaming(problem: Difference, waits: str) -> list[tuple[str, str]]:
    """The statement that renames what has the name of an object that is to be created."""
    kind, _, relation = problem.taken_by.removeprefix("constraint ").partition(" ")
    if not relation or waits or problem.is_index:
        return []
    name, other = quote_name(problem.key.name), quote_name(f"{problem.key.name[:59]}_old")
    if kind == "index":
        return [("rename", f"ALTER INDEX public.{name} RENAME TO {other};")]
    return [("rename", f"ALTER TABLE {qualify(relation)} RENAME CONSTRAINT {name} TO {other};")]


def key_steps(problem: Difference, problems: Iterable[Difference]) -> Iterator[Step]:
    """Drop the foreign keys that forbid a column's new type; the schema's own are added again."""
    own = {(other.key.relation, other.key.name) for other in problems if other.key.kind == "foreign key"}
    for relation, name, _ in problem.forbidding:
        alter, quoted = f"ALTER TABLE {qualify(relation)}", quote_name(name)
        documented = expected_catalog().get(ObjectKey("foreign key", relation, name), "")
        about = f"foreign key {name}: forbids the new type of {problem.key}"
        if not documented and (relation, name) not in own:
            about += ", and is not in the schema"
        yield Step("drop key", about, f"{alter} DROP CONSTRAINT IF EXISTS {quoted};")
        if documented and (relation, name) not in own:
            yield Step("foreign key", f"foreign key {name}", f"{alter} ADD CONSTRAINT {quoted} {documented} NOT VALID;")
            yield Step("afterwards", f"foreign key {name}", f"{alter} VALIDATE CONSTRAINT {quoted};")


def view_steps(problems: Iterable[Difference], of_tables: Iterable[Difference], left: Left) -> Iterator[Step]:
    """The steps that mend views, and those that take views out of the way of a column's new type.

    A view that keeps its columns is replaced, which keeps the rights granted on it.
    """
    dropped, created = dict[str, str](), dict[str, str]()
    waiting = dict[str, str]()
    for problem in problems:
        about = f"{problem.key}: {problem}"
        if problem.instead:
            yield Step("decision", about, f"-- Rename or drop it, then:\n{commented(create(problem.key.relation))}")
            continue
        if problem.key.kind == "view options":
            options = ", ".join(option.split("=")[0] for option in (problem.found or "").split(", "))
            yield Step("view options", about, f"ALTER VIEW {qualify(problem.key.relation)} RESET ({options});")
            continue
        told = created if problem.key.kind == "view" else dropped
        told[problem.key.relation] = about
        if reason := problem.obstacle or left.reason("", create(problem.key.relation)):
            waiting[problem.key.relation] = reason
    missing = {problem.key.relation for problem in problems if problem.key.kind == "view" and problem.found is None}
    for problem in of_tables:
        if problem.key.kind == "column" and problem.found is not None and not problem.obstacle:
            for view in views_reading(problem.key.relation):
                if view in missing:
                    continue
                dropped[view] = f"view {view}: stands in the way of the new type of {problem.key}"
    for view in waiting:
        about = dropped.pop(view, "") or created.get(view, "")
        created.pop(view, None)
        statement = f"DROP VIEW IF EXISTS {qualify(view)};\n{create(view)}"
        yield Step("decision", about, f"-- First, {one_line(waiting[view])}. Then:\n{commented(statement)}")
    for view, reason in dropped.items():
        yield Step("drop view", reason, f"DROP VIEW IF EXISTS {qualify(view)};")
        yield Step("view", f"view {view}: made again; grant on it what was granted before", create(view))
    for view, reason in created.items():
        if view not in dropped:
            yield Step("view", reason, create(view))


def statements_for(problem: Difference) -> Iterator[tuple[str, str]]:
    """The statements for one problem, each with its place in `ORDER`."""
    key, expected, found = problem.key, problem.expected or "", problem.found
    table, name = qualify(key.relation), quote_name(key.name)
    alter = f"ALTER TABLE {table}"
    match key.kind:
        case "table" if problem.instead or found:
            yield "decision", f"-- Rename or drop it, then run `iacalls db verify --sql` again for {table}."
        case "table":
            yield "table", "\n".join(statements_about(key.relation))
        case "function" | "function options":
            yield "function", create(key.name.split("(")[0])
        case "persistence":
            yield "persistence", f"{alter} SET LOGGED;"
        case "replica identity":
            yield "column", f"{alter} REPLICA IDENTITY DEFAULT;"
        case "generated":
            yield from stop_generating(key, found or "")
        case "unvalidated not null":
            yield "not null", f"{alter} ALTER COLUMN {name} SET NOT NULL;"
        case "disabled key":
            definition = expected_catalog()[ObjectKey("foreign key", key.relation, key.name)]
            yield "foreign key", f"{alter} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition} NOT VALID;"
            yield "afterwards", f"{alter} VALIDATE CONSTRAINT {name};"
        case "sequence range":
            yield "sequence range", widen_sequence(key, found or "")
        case "next value" if "no next id" in problem.message:
            yield "decision", f"-- No id is left: free some, or change the type of {key.relation}.{key.name} to bigint."
        case "next value":
            yield "sequence", move_sequence(key, found or "")
        case "column" if found is None:
            yield from add_column(key, expected, problem.instead)
        case "column":
            yield "column", change_type(key, expected, found or "")
        case "not null":
            yield "not null", f"{alter} ALTER COLUMN {name} {'SET' if expected else 'DROP'} NOT NULL;"
        case "default" if found == TAKES_NO_VALUE and expected.startswith("nextval("):
            yield "default", f"{alter} ALTER COLUMN {name} SET GENERATED BY DEFAULT;"
        case "default" if (found or "").endswith(" AS IDENTITY"):
            set_default = f"{alter} ALTER COLUMN {name} SET DEFAULT {expected};" if expected else ""
            yield "default", lines(f"{alter} ALTER COLUMN {name} DROP IDENTITY;", set_default)
        case "default":
            yield (
                "default",
                lines(make_sequence(key), own_sequence(key), f"{alter} ALTER COLUMN {name} SET DEFAULT {expected};"),
            )
        case "sequence":
            yield "sequence", lines(make_sequence(key), own_sequence(key), move_sequence(key))
        case "primary key" | "unique" if problem.is_index:
            kind = key.kind.upper()
            yield key.kind, f"{alter} ADD CONSTRAINT {name} {kind} USING INDEX {quote_name(problem.instead)};"
        case "primary key" | "unique" | "check" | "foreign key" if problem.instead and found is None:
            yield key.kind, f"{alter} RENAME CONSTRAINT {quote_name(problem.instead)} TO {name};"
        case "primary key" | "unique":
            yield key.kind, f"{alter}{drop_constraint(problem)} ADD CONSTRAINT {name} {expected};"
        case "check" | "foreign key":
            if problem.bad_state != "NOT VALID":
                yield key.kind, f"{alter}{drop_constraint(problem)} ADD CONSTRAINT {name} {expected} NOT VALID;"
            yield "afterwards", f"{alter} VALIDATE CONSTRAINT {name};"
        case "index":
            yield "index", build_index(name, expected, problem)
        case "trigger" if problem.bad_state:
            yield "trigger", f"{alter} ENABLE TRIGGER {name};"
        case "trigger":
            yield "trigger", f"DROP TRIGGER IF EXISTS {name} ON {table};\n{expected};"


def add_column(key: ObjectKey, expected: str, instead: str) -> Iterator[tuple[str, str]]:
    """Add a column with all that belongs to it, unless it may be there as `instead`."""
    catalogue = expected_catalog()
    default = catalogue.get(ObjectKey("default", key.relation, key.name), "")
    required = ObjectKey("not null", key.relation, key.name) in catalogue
    alter, name = f"ALTER TABLE {qualify(key.relation)}", quote_name(key.name)
    rest = (f" DEFAULT {default}" if default else "") + (" NOT NULL" if required and default else "")
    added = lines(make_sequence(key), f"{alter} ADD COLUMN {name} {expected}{rest};", own_sequence(key))
    if instead:
        renaming = f"{alter} RENAME COLUMN {quote_name(instead)} TO {name};"
        yield (
            "column",
            f"-- If it is {one_line(instead)} under another name:\n{commented(renaming)}\n-- else:\n{commented(added)}",
        )
    else:
        yield "column", added
    if required and not default and not instead:
        set_required = f"{alter} ALTER COLUMN {name} SET NOT NULL;"
        yield "decision", f"-- Fill {key.relation}.{key.name} in the rows there are, then:\n{commented(set_required)}"


def change_type(key: ObjectKey, expected: str, found: str) -> str:
    """Change a column's type; PostgreSQL refuses where a value would not fit."""
    name = quote_name(key.name)
    default = expected_catalog().get(ObjectKey("default", key.relation, key.name))
    using = conversion(name, expected, found)
    actions = [f"ALTER COLUMN {name} TYPE {expected}" + (f" USING {using}" if using else "")]
    if default:
        # The old type's default may not fit the new one.
        actions = [f"ALTER COLUMN {name} DROP DEFAULT", *actions, f"ALTER COLUMN {name} SET DEFAULT {default}"]
    return f"ALTER TABLE {qualify(key.relation)} " + ",\n    ".join(actions) + ";"


def conversion(name: str, expected: str, found: str) -> str:
    """The value of a column in another type, or '' for PostgreSQL's own cast; nothing is lost or guessed.

    What text means as a time, and how a time or a number becomes text, is set for the whole script.
    """
    is_text = expected.startswith("character") or expected == "text"
    if found == "money":  # its text has a currency sign
        return f"{name}::numeric" if is_text else f"trim_scale({name}::numeric)::text::{expected}"
    if is_text:
        return ""
    if expected.startswith("timestamp") and expected.endswith("without time zone"):
        if found.startswith("timestamp") and found.endswith("with time zone"):
            return f"{name} AT TIME ZONE 'UTC'"
        if found.startswith("timestamp") or found == "date":
            return f"{name}::{expected}"
        # A cast to timestamp would drop an offset, and take 03/04/2025 for either day.
        return (
            f"CASE WHEN {name}::text ~* '{ISO_TIME}' THEN {name}::text::timestamptz AT TIME ZONE 'UTC'"
            f" ELSE ('not an ISO 8601 time: ' || {name}::text)::timestamp END"
        )
    if found.startswith(("numeric", "double", "real")) and expected in ("integer", "bigint"):
        # By way of text: a cast from double precision to numeric rounds to 15 digits.
        return f"trim_scale({name}::text::numeric)::text::{expected}"
    # Text is read again, so that a part of a number is refused and not rounded away.
    return f"{name}::text::{expected}"


def drop_constraint(problem: Difference) -> str:
    """The part of an ALTER TABLE that drops the constraint as it is, or ''."""
    return (
        ""
        if problem.found is None
        else f" DROP CONSTRAINT IF EXISTS {quote_name(problem.instead or problem.key.name)},"
    )


def build_index(name: str, expected: str, problem: Difference) -> str:
    """Build an index without stopping writes; one that differs serves until the new one is there."""
    build = expected.replace("INDEX ", "INDEX CONCURRENTLY ", 1) + ";"
    if problem.found is None:
        return build
    if problem.bad_state:
        return f"DROP INDEX CONCURRENTLY public.{name};\n{build}"
    beside = quote_name(f"{problem.key.name}_new")
    return (
        # What an earlier run left, which stopped while building.
        f"DROP INDEX CONCURRENTLY IF EXISTS public.{beside};\n"
        f"{build.replace(f' {name} ', f' {beside} ', 1)}\nDROP INDEX CONCURRENTLY public.{name};\n"
        f"ALTER INDEX public.{beside} RENAME TO {name};"
    )
