"""The SQL files: complete headers, placeholders, and a server that prepares every one."""

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacalls_cli.database.rows import describe
from iacalls_cli.errors import UsageError
from iacalls_cli.placeholders import count_statements, find_placeholders, scan, to_positional
from iacalls_cli.queries import SQL, load_query, load_topic, parse_query, read_query

FOLDER = SQL / "queries"
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.sql"))
HEADER = "-- What it does.\n"


@pytest.mark.parametrize("name", NAMES)
def test_header_is_complete(name):
    query = load_query(name)
    assert query.description.endswith(".")
    assert query.effect in query.text
    if name.startswith("report/"):
        assert query.effect == "read-only"
        assert query.description_es.endswith(".")
    assert all(parameter.help for parameter in query.parameters)


@pytest.mark.parametrize("name", NAMES)
def test_server_prepares_it(name, connection):
    describe(connection, load_query(name))


@pytest.mark.parametrize("name", NAMES)
def test_some_module_uses_it(name):
    topic, _, stem = name.partition("/")
    if topic == "report":
        return  # every file there is a command
    spelled = {f'"{name}"', f'"{stem}"', f'"{stem.replace("-", "_")}"'}
    assert any(text in sources() for text in spelled), f"nothing uses {name}"


@cache
def sources():
    package = Path(__file__).parent.parent / "iacalls_cli"
    return "\n".join(path.read_text() for path in package.rglob("*.py"))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT :a, :b, :a", ("a", "b")),
        ("SELECT 1::int, a::text", ()),
        ("SELECT ':a', E'it\\'s :a', \":a\"", ()),
        ("SELECT $$ :a $$, $tag$ :a $$ $tag$, :b", ("b",)),
        ("SELECT 1 -- :a\n, :b", ("b",)),
        ("SELECT /* :a /* :b */ :c */ :d", ("d",)),
        ("SELECT x[lo:hi], x[1:n], (y):z", ()),
        ("DO $$BEGIN a := :b; END$$", ()),
        ("SELECT a=:a,:b", ("a", "b")),
        ("SELECT 'it''s :a' || :b", ("b",)),
        ("SELECT U&'\\0441' || :ñ", ()),
    ],
)
def test_placeholders_are_found_where_they_mean_something(text, names):
    assert find_placeholders(text) == names


@given(st.text(alphabet="ab:'\"$-/*;\n\\ E", max_size=40))
def test_scanning_loses_nothing(text):
    assert "".join(piece for _, piece in scan(text)) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("-- only a comment", 0), ("SELECT 1", 1), ("SELECT 1;", 1), ("SELECT 1; -- x", 1), ("SELECT 1; SELECT 2", 2),
     ("SELECT ';'; /* ; */", 1), (";;SELECT 1;;", 1)],
)  # fmt: skip
def test_statements_are_counted(text, count):
    assert count_statements(text) == count


def test_a_percent_sign_and_a_cast_stay_as_they_are():
    assert to_positional("SELECT '5%' % :n, a::int;", {"n": "integer"}) == "SELECT '5%' % $1::integer, a::int"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "has no header"),
        (HEADER + "-- parm: a text\nSELECT 1", "unknown header key 'parm'"),
        (HEADER + "-- param: a\nSELECT :a", "cannot read 'param: a'"),
        (HEADER + "-- param: a varchar\nSELECT :a", "unknown type 'varchar'"),
        (HEADER + "-- param: a text\nSELECT 1", "declared and not used"),
        (HEADER + "-- param: a text\n-- param: a text\nSELECT :a", "declared twice"),
        (HEADER + "SELECT :a", ":a is used and not declared"),
        (HEADER + "-- effect: destroys\nSELECT 1", "unknown effect"),
        (HEADER + "SELECT 1; DROP TABLE users", "2 statements"),
        (HEADER, "0 statements"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        parse_query("x", text)


def test_header_is_read():
    query = parse_query(
        "x",
        "-- First line.\n-- Second line.\n-- es: Primera línea.\n-- param: a integer\n"
        "-- param: b text = x in x, y -- which one\n-- param: c date = null\n-- bytes: size\nSELECT :a, :b, :c",
    )
    assert query.description == "First line.\nSecond line."
    a, b, c = query.parameters
    assert (a.is_required, a.default) == (True, None)
    assert (b.is_required, b.default, b.choices, b.help) == (False, "x", ("x", "y"), "which one")
    assert (c.is_required, c.default) == (False, None)
    assert query.byte_columns == ("size",)
    assert query.arguments({"b": "y", "a": 1}) == [1, "y", None]


@pytest.mark.parametrize(("locale", "summary"), [("es_CO.UTF-8", "Hola."), ("en_US.UTF-8", "Hello."), ("C", "Hello.")])
def test_summary_follows_the_locale(monkeypatch, locale, summary):
    monkeypatch.setenv("LC_ALL", locale)
    assert parse_query("x", "-- Hello.\n-- es: Hola.\nSELECT 1").summary == summary


def test_unreadable_files_are_named(tmp_path):
    binary = tmp_path / "latin.sql"
    binary.write_bytes("-- año\nSELECT 1".encode("latin-1"))
    for path, message in [(tmp_path, "is a folder"), (tmp_path / "no.sql", "there is no file"), (binary, "not UTF-8")]:
        with pytest.raises(UsageError, match=message) as caught:
            read_query(path, "x")
        assert str(path) in caught.value.message


def test_every_topic_is_a_folder_with_queries():
    for folder in FOLDER.iterdir():
        assert folder.is_dir()
        assert load_topic(folder.name)
