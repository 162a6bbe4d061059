"""JSON and JSON lines.

Numbers keep every digit the server sent, jsonb stays JSON, arrays become lists. NaN and
infinity, which JSON lacks, become strings. Control characters are escaped, so that even
JSON shown on a terminal cannot drive it.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TextIO

from iacalls_cli.table import Answer, Cell, Column, Table
from iacalls_cli.text import UNSAFE

JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
ARRAY_TOKEN = re.compile(r'[{}]|"(?:[^"\\]|\\.)*"|[^{},"]+', re.DOTALL)


def write_json(answer: Answer, command: str, target: Mapping[str, str], stream: TextIO) -> None:
    """One object: command, target, the answer's further members, and data, a row a line."""
    members = {"command": command, "target": dict(target)}
    stream.write("{")
    for name, value in members.items():
        stream.write(f"{quote(name)}: {dump(value)},\n ")
    for name, value in answer.more.items():
        stream.write(f"{quote(name)}: ")
        if isinstance(value, Table):
            write_rows(value, stream)
        else:
            stream.write(dump(value))
        stream.write(",\n ")
    stream.write('"data": ')
    write_rows(answer.data, stream)
    stream.write("}\n")


def write_rows(table: Table, stream: TextIO) -> None:
    """A JSON list of row objects."""
    stream.write("[")
    separator = "\n  "
    for row in table.rows:
        stream.write(separator + row_object(table.columns, row))
        separator = ",\n  "
    stream.write("]")


def write_json_lines(table: Table, stream: TextIO) -> None:
    """One row object a line."""
    for row in table.rows:
        stream.write(row_object(table.columns, row) + "\n")


def row_object(columns: tuple[Column, ...], row: Any) -> str:
    """One row as a JSON object on one line."""
    members = (f"{quote(column.name)}: {literal(cell, column.kind)}" for column, cell in zip(columns, row, strict=True))
    return "{" + ", ".join(members) + "}"


def literal(cell: Cell | list[Any], kind: str) -> str:
    """One cell as JSON."""
    if not isinstance(cell, str):
        return dump(cell)
    if kind in ("number", "bytes") and JSON_NUMBER.fullmatch(cell):
        return cell
    if kind == "boolean" and cell in ("t", "f"):
        return "true" if cell == "t" else "false"
    if kind == "json":
        # Raw line breaks in JSON text are white space between tokens, never in a string.
        return escape_unsafe(cell.replace("\n", " ").replace("\r", " ").replace("\t", " "))
    if kind == "array":
        return dump(parse_array(cell))
    return quote(cell)


def dump(value: Any) -> str:
    """A Python value as JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return quote(str(value))
    return escape_unsafe(json.dumps(value, ensure_ascii=False))


def quote(text: str) -> str:
    """A JSON string."""
    return escape_unsafe(json.dumps(text, ensure_ascii=False))


def escape_unsafe(text: str) -> str:
    """Escape, in JSON text, the unsafe characters that JSON itself would let pass."""
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


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
