"""The SQL script that makes a database as the schema has it; for reading, and running by hand.

One transaction in the order in which the objects need each other, so that it changes all or
nothing; then, outside of it, what would hold locks for long on a live system: indexes are
built CONCURRENTLY, keys and checks are added NOT VALID and validated afterwards.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iacalls_cli.operations.db.compare import Difference
from iacalls_cli.operations.db.expected import ObjectKey, expected_catalogue
from iacalls_cli.operations.db.statements import create, is_view, schema_tables, statements_about, views_reading
from iacalls_cli.text import one_line

PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# The order of the transaction. Views are dropped first where a column under them changes its
# type, which PostgreSQL refuses otherwise, and made again last.
ORDER = ("drop view", "function", "column", "default", "not null", "sequence", "primary key", "unique", "table",
         "check", "foreign key", "trigger", "view", "decision", "index", "afterwards")  # fmt: skip
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


def mending_script(differences: Iterable[Difference]) -> str:
    """The script that mends the problems among `differences`."""
    order = schema_tables()
    problems = [difference for difference in differences if difference.verdict == "problem"]
    # A table stands behind those it references.
    problems.sort(key=lambda problem: order.index(problem.key.relation) if problem.key.relation in order else -1)
    of_views = [problem for problem in problems if is_view(problem.key.relation)]
    of_tables = [problem for problem in problems if problem not in of_views]
    steps = [*table_steps(of_tables), *view_steps(of_views, of_tables)]
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


def table_steps(problems: Iterable[Difference]) -> Iterator[Step]:
    """The steps that mend tables and functions, unordered."""
    for problem in problems:
        for place, statement in statements_for(problem):
            yield Step(place, f"{problem.key}: {problem}", statement)


def view_steps(problems: Iterable[Difference], of_tables: Iterable[Difference]) -> Iterator[Step]:
    """The steps that mend views, and those that take views out of the way of a column's new type.

    A view that keeps its columns is replaced, which keeps the rights granted on it.
    """
    dropped, created = dict[str, str](), dict[str, str]()
    for problem in problems:
        about = f"{problem.key}: {problem}"
        if problem.instead:
            yield Step("decision", about, f"-- Rename or drop it, then:\n{commented(create(problem.key.relation))}")
            continue
        told = created if problem.key.kind == "view" else dropped
        told[problem.key.relation] = about
    missing = {problem.key.relation for problem in problems if problem.key.kind == "view" and problem.found is None}
    for problem in of_tables:
        if problem.key.kind == "column" and problem.found is not None:
            for view in views_reading(problem.key.relation):
                if view in missing:
                    continue
                dropped[view] = f"view {view}: stands in the way of the new type of {problem.key}"
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
        case "table" if problem.instead:
            yield "decision", f"-- Rename or drop it, then run `iacalls db verify --sql` again for {table}."
        case "table":
            yield "table", "\n".join(statements_about(key.relation))
        case "function":
            yield "function", create(key.name.split("(")[0])
        case "column" if found is None:
            yield from add_column(key, expected, problem.instead)
        case "column":
            yield "column", change_type(key, expected, found or "")
        case "not null":
            yield "not null", f"{alter} ALTER COLUMN {name} {'SET' if expected else 'DROP'} NOT NULL;"
        case "default":
            yield (
                "default",
                lines(make_sequence(key), own_sequence(key), f"{alter} ALTER COLUMN {name} SET DEFAULT {expected};"),
            )
        case "sequence":
            yield "sequence", lines(make_sequence(key), own_sequence(key), move_sequence(key))
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
    catalogue = expected_catalogue()
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
    default = expected_catalogue().get(ObjectKey("default", key.relation, key.name))
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


def sequence_of(key: ObjectKey) -> str:
    """The name of a column's sequence, or ''."""
    return expected_catalogue().get(ObjectKey("sequence", key.relation, key.name), "")


def make_sequence(key: ObjectKey) -> str:
    """Make the sequence of a column where it is missing; '' for a column without one."""
    sequence = sequence_of(key)
    return f"CREATE SEQUENCE IF NOT EXISTS {qualify(sequence)} AS integer;" if sequence else ""


def own_sequence(key: ObjectKey) -> str:
    """Let a column own its sequence, which then goes with it; '' for a column without one."""
    owner = f"{qualify(key.relation)}.{quote_name(key.name)}"
    sequence = sequence_of(key)
    return f"ALTER SEQUENCE {qualify(sequence)} OWNED BY {owner};" if sequence else ""


def move_sequence(key: ObjectKey) -> str:
    """Move a sequence on to the first value its column does not have, never back and skipping none."""
    sequence, table, name = qualify(sequence_of(key)), qualify(key.relation), quote_name(key.name)
    after_rows = f"(SELECT coalesce(max({name}), 0) + 1 FROM {table})"  # noqa: S608, quoted names
    own_next = f"(SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {sequence})"  # noqa: S608, the same
    return f"SELECT setval('{sequence}', greatest({after_rows}, {own_next}), false);"


def drop_constraint(problem: Difference) -> str:
    """The part of an ALTER TABLE that drops the constraint as it is, or ''."""
    return "" if problem.found is None else f" DROP CONSTRAINT {quote_name(problem.instead or problem.key.name)},"


def build_index(name: str, expected: str, problem: Difference) -> str:
    """Build an index without stopping writes; one that differs serves until the new one is there."""
    build = expected.replace("INDEX ", "INDEX CONCURRENTLY ", 1) + ";"
    if problem.found is None:
        return build
    if problem.bad_state:
        return f"DROP INDEX CONCURRENTLY public.{name};\n{build}"
    beside = quote_name(f"{problem.key.name}_new")
    return (
        f"{build.replace(f' {name} ', f' {beside} ', 1)}\nDROP INDEX CONCURRENTLY public.{name};\n"
        f"ALTER INDEX public.{beside} RENAME TO {name};"
    )


def commented(text: str) -> str:
    """SQL that is only proposed."""
    return "\n".join(f"-- {line}" for line in text.splitlines())


def lines(*texts: str) -> str:
    """The texts that are not empty, one below the other."""
    return "\n".join(text for text in texts if text)


def quote_name(name: str) -> str:
    """An identifier as SQL needs it written; catalogue names are data, and data are quoted."""
    return name if PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def qualify(name: str) -> str:
    """The name of a relation of schema public, as SQL needs it written."""
    return f"public.{quote_name(name)}"
