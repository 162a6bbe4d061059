"""Statements for what feeds a column: its sequence, its default, its expression."""

from collections.abc import Iterator

from iacalls_cli.operations.db.catalog import LAST_INTEGER, SEQUENCE_RANGE, ObjectKey, expected_catalog
from iacalls_cli.operations.db.next_values import NEAR
from iacalls_cli.operations.db.statements import commented, qualify, quote_name


def sequence_of(key: ObjectKey) -> str:
    """The name of a column's sequence, or ''."""
    return expected_catalog().get(ObjectKey("sequence", key.relation, key.name), "")


def make_sequence(key: ObjectKey) -> str:
    """Make the sequence of a column where it is missing; '' for a column without one."""
    sequence = sequence_of(key)
    return f"CREATE SEQUENCE IF NOT EXISTS {qualify(sequence)} AS integer;" if sequence else ""


def own_sequence(key: ObjectKey) -> str:
    """Let a column own its sequence, which then goes with it; '' for a column without one."""
    owner = f"{qualify(key.relation)}.{quote_name(key.name)}"
    sequence = sequence_of(key)
    return f"ALTER SEQUENCE {qualify(sequence)} OWNED BY {owner};" if sequence else ""


def move_sequence(key: ObjectKey, sequence: str = "") -> str:
    """Move a sequence on to the first value from where no id is taken for long, never back and skipping none."""
    sequence, table, name = qualify(sequence or sequence_of(key)), qualify(key.relation), quote_name(key.name)
    own_next = f"(SELECT greatest(last_value + CASE WHEN is_called THEN 1 ELSE 0 END, 1) FROM {sequence})"  # noqa: S608, quoted names
    literal = "'" + sequence.replace("'", "''") + "'"
    return (
        f"SELECT setval({literal}, min(id) + 1, false)\n"  # noqa: S608, the same
        f"  FROM (SELECT id, lead(id) OVER (ORDER BY id) AS following\n"
        f"          FROM (SELECT {own_next} - 1 AS id\n"
        f"                 UNION ALL SELECT {name}::bigint FROM {table} WHERE {name} >= {own_next}) AS ids) AS gaps\n"
        f" WHERE (following IS NULL OR following - id > {NEAR}) AND id < {LAST_INTEGER};"
    )


def widen_sequence(key: ObjectKey, found: str) -> str:
    """Let a sequence count upwards to the last value of its column, and stop there."""
    parts = SEQUENCE_RANGE.fullmatch(found)
    name = parts["name"] if parts else quote_name(sequence_of(key))
    bare = name.strip('"').replace('""', '"')
    type_ = "bigint" if parts and parts["type"] == "bigint" else "integer"
    most = max(LAST_INTEGER, int(parts["most"]) if parts else 0)
    return lines(
        f"ALTER SEQUENCE public.{name} AS {type_} INCREMENT BY 1 MAXVALUE {most} NO CYCLE;",
        f"ALTER SEQUENCE public.{name} SET LOGGED;" if parts and parts["unlogged"] else "",
        move_sequence(key, bare),
    )


def stop_generating(key: ObjectKey, found: str) -> Iterator[tuple[str, str]]:
    """Turn a generated column into one that takes values; its values stay."""
    alter, name = f"ALTER TABLE {qualify(key.relation)}", quote_name(key.name)
    if found.endswith("VIRTUAL"):
        beside = quote_name(f"{key.name[:59]}_new")
        type_ = expected_catalog()[ObjectKey("column", key.relation, key.name)]
        moving = lines(
            f"{alter} ADD COLUMN {beside} {type_};",
            f"UPDATE {qualify(key.relation)} SET {beside} = {name};",  # noqa: S608, quoted names
            f"{alter} DROP COLUMN {name};",
            f"{alter} RENAME COLUMN {beside} TO {name};",
        )
        yield "decision", f"-- A virtual column has no values of its own. To keep those it shows:\n{commented(moving)}"
        return
    yield "generated", f"{alter} ALTER COLUMN {name} DROP EXPRESSION;"
    default = expected_catalog().get(ObjectKey("default", key.relation, key.name), "")
    if default:
        yield (
            "default",
            lines(make_sequence(key), own_sequence(key), f"{alter} ALTER COLUMN {name} SET DEFAULT {default};"),
        )


def lines(*texts: str) -> str:
    """The texts that are not empty, one below the other."""
    return "\n".join(text for text in texts if text)
