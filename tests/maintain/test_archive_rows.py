"""Rows between COPY's text and JSON lines: whatever is in them comes back byte by byte."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacalls_cli.operations.maintain.archive.rows import to_copy, to_json_lines

ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
HARD = st.text(st.sampled_from("".join(map(chr, range(1, 33))) + '"\\,NvnutbfrX]{}[\x7f\x85\u2028é🎉'), max_size=12)
VALUES = st.none() | HARD | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def copied(rows):
    """Rows as PostgreSQL's COPY writes them: https://www.postgresql.org/docs/current/sql-copy.html."""
    lines = (
        "\t".join("\\N" if value is None else "".join(ESCAPES.get(c, c) for c in value) for value in row)
        for row in rows
    )
    return "".join(line + "\n" for line in lines).encode()


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(VALUES, min_size=n, max_size=n), min_size=1, max_size=5)))
def test_any_rows_come_back(rows):
    lines = to_json_lines(copied(rows))
    assert [json.loads(line) for line in lines.decode().split("\n")[:-1]] == rows
    assert b"".join(map(to_copy, lines.split(b"\n")[:-1])) == copied(rows)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("text", [None, "\\N", "N", '"', '"\\N"', '\\"', ""])
def test_null_and_what_looks_like_it_in_every_place(place, text):
    row = ["x", "y", "z"]
    row[place] = text
    for rows in ([row], [row, row], [row, ["a", "b", "c"], row]):
        assert [json.loads(line) for line in to_json_lines(copied(rows)).splitlines()] == rows


def test_bytes_that_are_no_utf_8_come_back():
    """As a database in SQL_ASCII may have them."""
    row = b"\xff\xfe\t\x80\\N\xe9\n".replace(b"\\N", b"")
    line = to_json_lines(row)
    assert to_copy(line[:-1]) == row


def test_every_control_character_is_escaped():
    (line,) = to_json_lines(copied([["".join(map(chr, range(1, 32)))]])).splitlines()
    assert not re.search(rb"[\x00-\x1f]", line)
