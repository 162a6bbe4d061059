"""Whether checks and defaults that are written otherwise mean the same, as the server evaluates them.

Only what is made of literals, casts to a few built-in types, one column and a few keywords is evaluated, so
that no function or operator of anybody runs with the session's privileges. Everything else is compared as text.
"""

import re
from collections.abc import Iterator

import psycopg
from psycopg import sql

from iacalls_cli.database.connection import Connection
from iacalls_cli.errors import DatabaseError
from iacalls_cli.operations.db.catalog import Catalogue, ObjectKey, normalise

STRING = r"'(?:[^']|'')*'"
TEXT_CAST = r"::(?:text|character varying)(?:\[\])?(?![\w(])"
CHECK_WORDS = (
    "AND OR NOT IN ANY ALL ARRAY IS NULL TRUE FALSE true false DISTINCT FROM COALESCE NULLIF CASE WHEN THEN ELSE END"
)
CHECK_TOKEN = re.compile(rf"\s+|(?P<string>{STRING})|{TEXT_CAST}|<>|=|[(),\[\]]|(?P<word>\w+)|(?P<name>\"[^\"]+\")")
DEFAULT_TOKEN = re.compile(
    rf"\s+|{STRING}|-?\d+(?:\.\d+)?|[()]"
    r"|(?:now\(\)|CURRENT_TIMESTAMP|LOCALTIMESTAMP|transaction_timestamp\(\)|true|false|NULL)(?![\w(])"
    r"|::character varying\(\d+\)"
    r"|::(?:text|character varying|bpchar|boolean|smallint|integer|bigint|numeric|jsonb?"
    r"|timestamp with(?:out)? time zone)(?:\[\])?(?![\w(])"
)
FINITE_TYPE = re.compile(r"character varying(\(\d+\))?|text")
DEFAULT_TYPE = re.compile(
    r"(text|character varying|boolean|smallint|integer|bigint|numeric|jsonb|timestamp without time zone"
    r"|timestamp with time zone)(\(\d+\))?"
)
SUFFIX = re.compile(r"( NOT VALID| NO INHERIT| NOT ENFORCED)+$")
DIFFERS = "(allows other values)"
# No text that a check names.
OTHER = "no value that a check names 9d3f"


def read_same(connection: Connection, expected: Catalogue, found: Catalogue) -> dict[ObjectKey, str]:
    """Return `found` with the expected text for each check and default that means the same; only reads."""
    return (
        dict(found) | dict(same_checks(connection, expected, found)) | dict(same_defaults(connection, expected, found))
    )


def same_checks(connection: Connection, expected: Catalogue, found: Catalogue) -> Iterator[tuple[ObjectKey, str]]:
    """Yield the checks whose text is not the expected one, but allows the same values."""
    for key, text in expected.items():
        if key.kind != "check" or found.get(key) == text:
            continue
        for other, live in found.items():
            if other.kind != "check" or other.relation != key.relation or (other in expected and other != key):
                continue
            suffix = match[0] if (match := SUFFIX.search(live)) else ""
            is_same = is_same_check(connection, found, key.relation, text, live.removesuffix(suffix))
            if is_same:
                yield other, text + suffix
            elif is_same is False and normalise("check", live) == normalise("check", text):
                # The texts are alike without their parentheses and casts, and the server says that they differ.
                yield other, f"{live} {DIFFERS}"


def is_same_check(connection: Connection, found: Catalogue, relation: str, wanted: str, live: str) -> bool | None:
    """Whether two checks of one column with a finite list of values pass the same values and NULL; None if unknown."""
    column = column_of(wanted)
    if not column or column_of(live) != column:
        return None
    type_ = found.get(ObjectKey("column", relation, column), "")
    if not FINITE_TYPE.fullmatch(type_):
        return None
    strings = {match[0] for text in (wanted, live) for match in re.finditer(STRING, text)}
    arrays = [text for text in strings if text.startswith("'{")]
    probes = sql.SQL(", ").join(
        [sql.SQL("(NULL::text)"), *(sql.SQL("({})").format(sql.Literal(value)) for value in ("", OTHER)),
         *(sql.SQL(f"({text})") for text in sorted(strings))]
    )  # fmt: skip
    listed = sql.SQL("").join(sql.SQL(f" UNION SELECT unnest({text}::text[])") for text in sorted(arrays))
    statement = sql.SQL(
        "SELECT bool_and((({wanted}) IS NOT FALSE) = (({live}) IS NOT FALSE))"
        " FROM (SELECT value::text AS {column} FROM (VALUES {probes}) AS given (value){listed}) AS probe"
    ).format(
        wanted=sql.SQL(wanted.removeprefix("CHECK ")),
        live=sql.SQL(live.removeprefix("CHECK ")),
        column=sql.Identifier(column),
        probes=probes,
        listed=listed,
    )
    return evaluate(connection, statement)


def column_of(check: str) -> str:
    """Return the one column that a check compares with literals, or '' if it does anything else.

    >>> column_of("CHECK (((role)::text = ANY ((ARRAY['a'::character varying])::text[])))")
    'role'
    >>> column_of("CHECK ((lower((role)::text) = 'a'::text))")
    ''
    """
    text, position, columns = check.removeprefix("CHECK "), 0, set()
    while position < len(text):
        match = CHECK_TOKEN.match(text, position)
        if not match:
            return ""
        position = match.end()
        if match["name"]:
            columns.add(match["name"].strip('"'))
        elif (word := match["word"]) and word not in CHECK_WORDS.split():
            # A function's name, a number, or a type's.
            if text[position : position + 1] == "(" or word[0].isdigit():
                return ""
            columns.add(word)
    return columns.pop() if len(columns) == 1 else ""


def same_defaults(connection: Connection, expected: Catalogue, found: Catalogue) -> Iterator[tuple[ObjectKey, str]]:
    """Yield the defaults whose text is not the expected one, but gives the same value."""
    for key, text in expected.items():
        live = found.get(key)
        if key.kind != "default" or live is None or live == text:
            continue
        type_ = DEFAULT_TYPE.fullmatch(expected.get(ObjectKey("column", key.relation, key.name), ""))
        plain = [re.sub(r"\b((?:CURRENT|LOCAL)_?TIMESTAMP|timestamp)\(6\)", r"\1", one) for one in (text, live)]
        if not type_ or not all(is_plain(one) for one in plain):
            continue
        statement = sql.SQL("SELECT ({wanted})::{type} IS NOT DISTINCT FROM ({live})::{type}").format(
            wanted=sql.SQL(plain[0]), live=sql.SQL(plain[1]), type=sql.SQL(type_[1])
        )
        if evaluate(connection, statement):
            yield key, text


def is_plain(default: str) -> bool:
    """Whether a default is made of literals, casts and the transaction's time alone."""
    position = 0
    while position < len(default):
        match = DEFAULT_TOKEN.match(default, position)
        if not match:
            return False
        position = match.end()
    return True


def evaluate(connection: Connection, statement: sql.Composed) -> bool | None:
    """Return what the server says, or None if it cannot evaluate it."""
    try:
        with connection.transaction(force_rollback=True):
            row = connection.execute(statement).fetchone()
    except DatabaseError as error:
        if not isinstance(error.__cause__, psycopg.DataError | psycopg.ProgrammingError):
            raise
        return None
    return row[0] if row else None
