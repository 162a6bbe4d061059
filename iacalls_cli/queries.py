"""SQL by name: one statement a file under `sql/`, its leading comment its metadata.

    -- Groups with their clients and the progress of their calls.
    -- es: Grupos con sus clientes y el avance de sus llamadas.
    -- param: status text = none in none, pending, completed -- only groups in this state
    -- effect: read-only

The first lines say what the query does. `param: NAME TYPE` declares a required parameter,
`= DEFAULT` (or `= null`) makes it optional, `in A, B` lists what it may be, and the text
after ` -- ` is its help. A value may stand in single quotes, as in SQL. `effect` is `read-only`
or `write`. Three keys name columns for the sake of tables for people: `bytes` are sizes, shown
in larger units; `prose` is text that is wrapped and not cut; `wide` is left out where the
terminal is too narrow for all.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import dropwhile
from pathlib import Path
from typing import Any

from iacalls_cli.errors import UsageError
from iacalls_cli.sql_text import find_foreign, find_placeholders, find_statements, to_positional
from iacalls_cli.text import BYTE_ORDER_MARK
from iacalls_cli.values import make_clock, read_value

PACKAGE = Path(__file__).parent
# The wheel carries sql/ inside the package; a checkout keeps it beside.
SQL = PACKAGE / "sql" if (PACKAGE / "sql").is_dir() else PACKAGE.parent / "sql"

TYPES = ("integer", "bigint", "numeric", "text", "boolean", "date", "timestamp", "interval")
EFFECTS = ("read-only", "write")
# `name` is what other tools that read such files expect; here the path is the name.
KEYS = ("es", "param", "effect", "bytes", "prose", "wide", "name")
HEADER_LINE = re.compile(r"--[ \t]?(?P<text>.*)")
KEY_LINE = re.compile(r"(?P<key>[a-z]+):\s*(?P<value>.*)")
PARAM_LINE = re.compile(
    r"(?P<name>[a-z_][a-z0-9_]*)\s+(?P<type>[a-z]+)"
    r"(?:\s*=\s*(?P<default>'(?:[^']|'')*'|.*?))?"
    r"(?:\s+in\s+(?P<choices>[^-].*?))?"
    r"(?:\s+--\s+(?P<help>.*))?"
)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a query. `default` is text as in the header; None is NULL."""

    name: str
    type: str
    is_required: bool
    default: str | None
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Query:
    """One SQL file: its name (the path under the query folder), text and header."""

    name: str
    text: str
    description: str
    description_es: str
    parameters: tuple[Parameter, ...]
    effect: str
    byte_columns: tuple[str, ...] = ()
    prose_columns: tuple[str, ...] = ()
    wide_columns: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The description's first line, in Spanish where the locale is Spanish."""
        text = self.description_es if self.description_es and speaks_spanish() else self.description
        return text.splitlines()[0]

    @property
    def statement(self) -> str:
        """The text as the server takes it: `$1` stands for the first declared parameter."""
        return to_positional(self.text, {parameter.name: parameter.type for parameter in self.parameters})

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """`values` in the order of the declared parameters; those left out are NULL."""
        return [values.get(parameter.name) for parameter in self.parameters]


@cache
def load_query(name: str) -> Query:
    """One of iacalls's own queries, by its path under sql/queries without `.sql`."""
    return read_query(SQL / "queries" / f"{name}.sql", name)


@cache
def load_template(name: str) -> str:
    """Return a statement with places like {table}, by its path under sql/templates without `.sql`.

    The places are for `psycopg.sql.SQL.format` alone; the header declares each: `-- place: NAME, NAME -- what it is`.
    """
    lines = (SQL / "templates" / f"{name}.sql").read_text("utf-8").splitlines()
    return "\n".join(dropwhile(lambda line: line.startswith("--"), lines))


def load_topic(topic: str) -> tuple[Query, ...]:
    """All queries in one folder of sql/queries, by name."""
    folder = SQL / "queries" / topic
    return tuple(load_query(f"{topic}/{path.stem}") for path in sorted(folder.glob("*.sql")))


def load_schema() -> str:
    """The text of the documented schema."""
    return (SQL / "schema.sql").read_text("utf-8")


def load_stand_in(extension: str) -> str:
    """The statements that create stand-ins for functions of an extension."""
    return (SQL / "stand_ins" / f"{extension}.sql").read_text("utf-8")


def read_query(path: Path, name: str, *, needs_header: bool = True) -> Query:
    """Read a SQL file with its header, which may be missing unless `needs_header`.

    Raises `UsageError` naming the file when it cannot be read, is not UTF-8, has no
    header, declares what it does not use, or holds other than one statement.
    """
    try:
        # Editors of Windows begin a file with a byte order mark, which is not part of the SQL.
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", "check the path") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder, not a SQL file", "name a file that ends in .sql") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check its permissions") from None
    try:
        if "\0" in text:
            raise UsageError("it holds a NUL character, where the server would stop to read", "remove it")
        if BYTE_ORDER_MARK in text:
            line = text[: text.index(BYTE_ORDER_MARK)].count("\n") + 1
            raise UsageError(f"line {line}: a byte order mark, which cannot be seen, is in the text", "remove it")
        return parse_query(name, text, needs_header=needs_header)
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", error.hint) from None


def parse_query(name: str, text: str, *, needs_header: bool = True) -> Query:
    """Parse SQL text with its header, which may be missing unless `needs_header`.

    Raises `UsageError` where the two do not fit.
    """
    description: list[str] = []
    values: dict[str, str] = {}
    parameters: list[Parameter] = []
    for number, line in header_lines(text):
        match = KEY_LINE.fullmatch(line)
        if match is None:
            if line:
                description.append(line)
            continue
        key, value = match["key"], match["value"].strip()
        if key not in KEYS:
            # A misspelt key must not become prose; a word with a colon behind it may.
            if near := get_close_matches(key, KEYS):
                raise UsageError(f"line {number}: unknown header key '{key}'", f"did you mean {near[0]}?")
            description.append(line)
        elif key == "param":
            parameters.append(parse_parameter(value, number))
        else:
            values[key] = value
    if not description and needs_header:
        raise UsageError("it has no header", "begin it with a comment line that says what the query does")
    effect = values.get("effect", "read-only")
    if effect not in EFFECTS:
        raise UsageError(f"unknown effect '{effect}'", f"effect is {' or '.join(EFFECTS)}")
    for number, piece in find_foreign(text):
        raise UsageError(
            f"line {number}: {piece} is a placeholder of another tool",
            "write :name, and declare it: -- param: name TYPE",
        )
    check_parameters(text, parameters)
    check_statements(text)
    marked = [split_list(values.get(key, "")) for key in ("bytes", "prose", "wide")]
    return Query(name, text, "\n".join(description) or name, values.get("es", ""), tuple(parameters), effect, *marked)


def check_statements(text: str) -> None:
    """Raise `UsageError` unless the text is one statement, naming those that are too many."""
    statements = find_statements(text)
    if len(statements) < 2:
        if not statements:
            raise UsageError("it holds 0 statements", "one SQL file holds one statement")
        return
    more = ", ".join(f"{word or 'one'} in line {line}" for line, word in statements[1:4])
    ending = f" and {len(statements) - 4} more" if len(statements) > 4 else ""
    raise UsageError(
        f"it holds {len(statements)} statements; behind the first one: {more}{ending}",
        "one SQL file holds one statement; run the others with psql",
    )


def header_lines(text: str) -> Iterator[tuple[int, str]]:
    """The comment lines at the top of a file, without their dashes, with their line numbers."""
    for number, line in enumerate(text.splitlines(), 1):
        match = HEADER_LINE.fullmatch(line.strip())
        if match is None:
            if line.strip():
                return
            continue
        yield number, match["text"].strip()


def parse_parameter(value: str, number: int) -> Parameter:
    """Parse what stands behind `param:` in line `number` of a header."""
    match = PARAM_LINE.fullmatch(value)
    if match is None:
        raise UsageError(
            f"line {number}: cannot read 'param: {value}'", "write: -- param: NAME TYPE [= DEFAULT] [in A, B] [-- help]"
        )
    if match["type"] not in TYPES:
        raise UsageError(f"line {number}: unknown type '{match['type']}'", f"known types: {', '.join(TYPES)}")
    choices = tuple(unquote(choice, number) for choice in split_list(match["choices"] or ""))
    written = match["default"]
    default = None if written is None or written.lower() == "null" else unquote(written, number)
    if default is not None:
        try:
            read_value(match["name"], match["type"], choices, default, make_clock("UTC"))
        except UsageError as error:
            raise UsageError(f"line {number}: the default of {error.message}", error.hint) from None
    return Parameter(
        match["name"],
        match["type"],
        is_required=written is None,
        default=default,
        choices=choices,
        help=match["help"] or "",
    )


def unquote(text: str, number: int) -> str:
    """A value of a header without the quotes that people write around it in SQL.

    Raises `UsageError`, naming the line, for quotes that do not fit, and for double ones.

    >>> unquote("'it''s'", 1), unquote("O'Higgins", 1)
    ("it's", "O'Higgins")
    """
    inner = text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == "'" and "'" not in inner.replace("''", ""):
        return inner.replace("''", "'")
    if text[:1] == "'" or (len(text) > 1 and text[0] == text[-1] == '"'):
        raise UsageError(f"line {number}: cannot read the quotes of {text}", "write the value bare, or as 'value'")
    return text


def split_list(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def check_parameters(text: str, parameters: list[Parameter]) -> None:
    """Raise `UsageError` unless the declared parameters are the used ones, each once."""
    declared = [parameter.name for parameter in parameters]
    used = find_placeholders(text)
    for name in declared:
        if declared.count(name) > 1:
            raise UsageError(f"the parameter {name} is declared twice", "declare it once")
        if name not in used:
            raise UsageError(f"the parameter {name} is declared and not used", f"use :{name}, or remove the line")
    for name in used:
        if name not in declared:
            raise UsageError(f":{name} is used and not declared", f"add a line: -- param: {name} TYPE")


def speaks_spanish() -> bool:
    """Whether the user's locale, in libc's order of precedence, is a Spanish one."""
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            return value.startswith("es")
    return False
