"""The forms in which pg_dump writes statements that could do more than they seem to.

Each is read to its end: a COPY must take its rows from the script, an INSERT must hold values, a
call constants. An expression in their place would run, with the restoring role's privileges,
what no dump has there.
"""

import re
from collections.abc import Sequence
from functools import cache

from iacalls_cli.operations.backup.statement import Statement, find_word
from iacalls_cli.sql_text import QUOTED_NAME, string_pattern, unquote

NAME = rb"(?:" + QUOTED_NAME + rb"|[A-Za-z_\x80-\xff][\w$\x80-\xff]*)"
# The text of a call's argument, which is the same however backslashes are read: none stands before a
# quote, or behind a byte that may be the first of two.
TEXT = rb"(?:[eE]?'(?:[^'\\]++|''|(?<![\x80-\xff])\\[^'])*+')"
VALUE = rb"(?:" + TEXT + rb"(?:::[\w.]+)?|-?\d+|true|false)"
CALL_OF = re.compile(
    rb"SELECT\s+(?:pg_catalog\.)?(?P<function>\w+)\s*\((?P<values>" + VALUE + rb"(?:\s*,\s*" + VALUE + rb")*)?\)\s*;\s*"
)
# A sequence's position in dumps of servers before 8.2.
SERIAL_CALL = re.compile(
    rb"SELECT (?:pg_catalog\.)?setval\((?:pg_catalog\.)?pg_get_serial_sequence\(" + TEXT + rb",\s*" + TEXT
    + rb"\), \d+, (?:true|false)\);\s*"
)  # fmt: skip
# Where rows are no table's of one database; an unqualified name is looked for in pg_catalog first.
CATALOGS = ("pg_catalog", "information_schema", "pg_toast")
PLAIN_NAME = re.compile(rb"[A-Za-z_][\w$.]*")
CATALOG_PREFIX = "pg_"


@cache
def insert_pattern(standard_strings: bool, is_wide: bool) -> re.Pattern[bytes]:
    """Return the pattern of an INSERT of constants, as `pg_dump --inserts` writes it."""
    text = string_pattern(standard_strings, is_wide)
    value = (
        rb"(?:(?:"
        + text
        + rb")|[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:NULL|TRUE|FALSE|DEFAULT)(?![\w$\x80-\xff]))"
    )
    row = rb"\(\s*" + value + rb"(?:\s*,\s*" + value + rb")*+\s*\)"
    return re.compile(
        rb"\s*(?i:INSERT\s+INTO)\s+(?P<target>" + NAME + rb"(?:\." + NAME + rb")*+)"
        rb"(?:\s*\(\s*" + NAME + rb"(?:\s*,\s*" + NAME + rb")*+\s*\))?\s*(?i:OVERRIDING\s+(?:SYSTEM|USER)\s+VALUE\s+)?"
        rb"(?:(?i:DEFAULT\s+VALUES)|(?i:VALUES)\s*" + row + rb"(?:\s*,\s*" + row + rb")*+)"
        rb"(?i:\s+ON\s+CONFLICT\s+DO\s+NOTHING)?\s*(?:;\s*)?",
    )  # fmt: skip


def is_insert_of_values(statement: Statement) -> bool:
    """Whether an INSERT holds nothing but constants, for a table of the database's own."""
    pattern = insert_pattern(statement.standard_strings, statement.is_wide)
    match = pattern.fullmatch(statement.text)
    if match is None:
        return False
    # Rows come by the million.
    return (
        is_own_name(match["target"].decode("ascii").lower().split("."))
        if PLAIN_NAME.fullmatch(match["target"])
        else is_own_target(statement)
    )


def is_copy_from_stdin(statement: Statement) -> bool:
    """Whether a COPY reads rows from the script into a table of the database's own.

    Never a file or a program of the server's machine, and no condition on the rows.
    """
    tokens = [token for token in statement.tokens() if token.text != b";"][1:]
    if tokens and tokens[0].word == "BINARY" and len(tokens) > 1 and tokens[1].kind in ("word", "quoted"):
        tokens = tokens[1:]
    position = len(statement.target_tokens)
    if not position or [token.text for token in tokens[:position]] != [one.text for one in statement.target_tokens]:
        return False
    if position < len(tokens) and tokens[position].text == b"(":
        end = next((number for number, token in enumerate(tokens) if token.text == b")"), len(tokens))
        if any(token.kind not in ("word", "quoted") and token.text != b"," for token in tokens[position + 1 : end]):
            return False
        position = end + 1
    words = [token.word for token in tokens[position:]]
    if words[:2] == ["WITH", "OIDS"]:  # of dumps before version 12
        words = words[2:]
    return words[:2] == ["FROM", "STDIN"] and "WHERE" not in words and is_own_target(statement)


def is_own_target(statement: Statement) -> bool:
    """Whether the rows of a COPY or INSERT are of a table that is not the catalog's."""
    if any(token.text[:2].lower() == b"u&" for token in statement.target_tokens):
        return False  # no dump has such names, and what they mean is not looked at
    return is_own_name(statement.target_identifiers)


def is_own_name(names: Sequence[str]) -> bool:
    """Whether a table of this name, unquoted, is not the catalog's."""
    if not names:
        return False
    return not names[-1].startswith(CATALOG_PREFIX) if len(names) == 1 else names[-2] not in CATALOGS


def is_of_one_object(statement: Statement) -> bool:
    """Whether a CREATE or ALTER makes or changes that object alone, and calls nothing and nobody for it."""
    tokens = [token for token in statement.object_tokens if token.text != b";"]
    words = [token.word for token in tokens]
    if statement.command == "CREATE" and statement.kind == "SCHEMA":
        # Behind the name other objects may be made, and privileges granted on whatever there is.
        rest = words[1:] if words[:1] != ["AUTHORIZATION"] else words
        return not rest or (rest[0] == "AUTHORIZATION" and len(rest) == 2)
    if statement.command == "CREATE" and statement.kind == "TABLE":
        # Of a query: it would run.
        everything = list(statement.tokens())
        return find_word(everything, "AS") is None and find_word(everything, "EXECUTE") is None
    if statement.kind == "SUBSCRIPTION" and statement.command == "CREATE":
        # pg_dump always writes that none is to be connected to.
        words = [token.word or ("" if token.text == b"=" else "?") for token in statement.tokens()]
        return ["CONNECT", "", "FALSE"] in [words[number : number + 3] for number in range(len(words))]
    return not (statement.kind == "SUBSCRIPTION" and statement.command == "ALTER")


def is_about_database(statement: Statement) -> bool:
    """Whether a COMMENT or SECURITY LABEL is on the database, as pg_dump before version 11 wrote it."""
    tokens = list(statement.tokens())
    place = find_word(tokens, "ON")
    return place is not None and [token.word for token in tokens[place + 1 : place + 2]] == ["DATABASE"]


def is_search_path_call(text: bytes) -> bool:
    """Whether a call of set_config sets search_path."""
    return re.search(rb"set_config\s*\(\s*'search_path'\s*,", text) is not None


def names_of(statement: Statement) -> frozenset[str]:
    """Return what a statement names outside of quoted text."""
    return frozenset(
        unquote(token.text, statement.encoding) for token in statement.tokens() if token.kind in ("word", "quoted")
    )
