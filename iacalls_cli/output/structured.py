"""JSON and JSON lines.

Numbers keep every digit the server sent, jsonb stays JSON, arrays become lists. NaN and
infinity, which JSON lacks, become strings. Control characters are escaped, so that even
JSON shown on a terminal cannot drive it.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring as quote
from typing import Any, TextIO

from iacalls_cli.output.cells import in_chunks
from iacalls_cli.table import Result, Table
from iacalls_cli.text import UNSAFE

# The C0 controls are escaped already where they stand in strings.
UNSAFE_IN_JSON = re.compile(UNSAFE.pattern.replace("\x00-\x1f", ""))

WHITE_SPACE = str.maketrans("\n\r\t", "   ")
JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
ARRAY_TOKEN = re.compile(r'[{}]|"(?:[^"\\]|\\.)*"|[^{},"]+', re.DOTALL)


def write_json(result: Result, command: str, target: Mapping[str, str], stream: TextIO) -> None:
    """One object: command, target, the result's further members, and data, a row a line."""
    members = {"command": command, "target": dict(target)}
    stream.write("{")
    for name, value in members.items():
        stream.write(f"{quote(name)}: {dump(value)},\n ")
    for name, value in result.more.items():
        if isinstance(value, Table) and value.is_for_people:
            continue
        stream.write(f"{quote(name)}: ")
        if isinstance(value, Table):
            write_rows(value, stream)
        else:
            stream.write(dump(value))
        stream.write(",\n ")
    stream.write('"data": ')
    write_rows(result.data, stream)
    stream.write("}\n")


def write_rows(table: Table, stream: TextIO) -> None:
    """A JSON list of row objects."""
    stream.write("[")
    separator = "\n  "
    for lines in row_objects(table):
        stream.write(separator + escape_unsafe(",\n  ".join(lines)))
        separator = ",\n  "
    stream.write("]")


def write_json_lines(table: Table, stream: TextIO) -> None:
    """One row object a line."""
    for lines in row_objects(table):
        stream.write(escape_unsafe("\n".join(lines)) + "\n")


def row_objects(table: Table) -> Iterator[list[str]]:
    """The rows as JSON objects, one line each, some hundred at a time and column by column."""
    writers = [(quote(column.name) + ": ", WRITERS.get(column.kind, quote)) for column in table.columns]
    for rows in in_chunks(table.rows):
        members = [
            [name + (write(cell) if isinstance(cell, str) else dump(cell)) for cell in cells]
            for (name, write), cells in zip(writers, zip(*rows, strict=True), strict=True)
        ]
        yield ["{" + ", ".join(row) + "}" for row in zip(*members, strict=True)]


def number(text: str) -> str:
    """The server's text of a number; NaN and infinity become strings."""
    return text if JSON_NUMBER.fullmatch(text) else quote(text)


def boolean(text: str) -> str:
    """The server's text of a boolean."""
    return {"t": "true", "f": "false"}.get(text, quote(text))


def embedded_json(text: str) -> str:
    """JSON text on one line: raw line breaks in it are white space between tokens, never in a string."""
    return text.translate(WHITE_SPACE)


def array(text: str) -> str:
    """The server's text of an array, as a list."""
    return dump(parse_array(text))


WRITERS = {"number": number, "bytes": number, "boolean": boolean, "json": embedded_json, "array": array}


def dump(value: Any) -> str:
    """A Python value as JSON."""
    if value is None:
        return "null"
    if isinstance(value, float) and not math.isfinite(value):
        return quote(str(value))
    return escape_unsafe(json.dumps(value, ensure_ascii=False))


def escape_unsafe(text: str) -> str:
    """Escape, in JSON text, the unsafe characters that JSON itself would let pass; line ends stay."""
    if text.isascii() and "\x7f" not in text:
        return text
    return UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def parse_array(text: str) -> list[Any]:
    r"""PostgreSQL's array text as nested lists of text and None.

    >>> parse_array('{a,NULL,"x,\\"y",{1,2}}')
    ['a', None, 'x,"y', ['1', '2']]
    """
    stack: list[list[Any]] = [[]]
    # An array with other lower bounds than 1 is preceded by them: [0:1]={a,b}.
    for token in ARRAY_TOKEN.findall(text[text.index("{") :]):
        if token == "{":
            stack.append([])
        elif token == "}":
            done = stack.pop()
            stack[-1].append(done)
        elif token.startswith('"'):
            stack[-1].append(re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL))
        else:
            stack[-1].append(None if token == "NULL" else token)
    whole: list[Any] = stack[0][0]
    return whole
