"""The SQL files: complete headers, placeholders, and a server that prepares every one."""

import re
from functools import cache
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iacalls_cli.database.connection import REPORTING, apply_settings
from iacalls_cli.database.rows import describe
from iacalls_cli.errors import UsageError
from iacalls_cli.queries import SQL, load_query, load_template, load_topic, parse_query, read_query
from iacalls_cli.sql_text import find_foreign, find_placeholders, find_statements, scan, to_positional
from tests.support import ROOT
from tests.support.servers import OWNER

FOLDER = SQL / "queries"
NAMES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.sql"))
TEMPLATES = sorted(
    str(path.relative_to(SQL / "templates").with_suffix("")) for path in (SQL / "templates").rglob("*.sql")
)
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


@pytest.mark.parametrize("name", TEMPLATES)
def test_header_of_a_template_names_its_places(name):
    header = [line for line in (SQL / "templates" / f"{name}.sql").read_text().splitlines() if line.startswith("--")]
    places = [re.fullmatch(r"-- place: ([a-z_, ]+) -- .+", line) for line in header]
    described = [name for place in places if place for name in place[1].split(", ")]
    assert header[0].startswith("-- ")
    assert not places[0]
    used = {field for _, field, _, _ in Formatter().parse(load_template(name)) if field is not None}
    assert sorted(described) == sorted(used)
    assert f'"{name}"' in sources()


@pytest.fixture(scope="module")
def preparing(server, schema_template):
    """A session in a database with the documented schema, which nothing here changes."""
    name = server.create_database(template=schema_template)
    with server.connect(name, OWNER) as opened:
        apply_settings(opened, read_only=True, limits=REPORTING)
        yield opened
    server.drop_database(name)


@pytest.mark.parametrize("name", NAMES)
def test_server_prepares_it(name, preparing):
    describe(preparing, load_query(name))


@pytest.mark.parametrize("name", NAMES)
def test_some_module_uses_it(name):
    topic, _, stem = name.partition("/")
    if topic == "report":
        return  # every file there is a command
    spelled = {f'"{name}"', f'"{stem}"', f'"{stem.replace("-", "_")}"'}
    assert any(text in sources() for text in spelled), f"nothing uses {name}"


@cache
def sources():
    package = ROOT / "iacalls_cli"
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
    assert len(find_statements(text)) == count


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT $1", [(1, "$1")]),
        ("SELECT :n,\n       $1,\n       $12", [(2, "$1"), (3, "$12")]),
        ("SELECT '\n'\n, {{ name }}", [(3, "{{ name }}")]),
        ("/* \n */ SELECT ${a} || #{b}", [(2, "${a}"), (2, "#{b}")]),
        ("SELECT :'name'", [(1, ":'name'")]),
        ("SELECT '$1', \"$1\", $$ $1 {{x}} $$, a$1, $x$ $2 $x$ -- $1\n/* $1 */", []),
        ("SELECT a[1:'2'], '{1,2}'::int[], x::\"char\", E'{'", []),
    ],
)
def test_placeholders_of_other_tools_are_found_with_their_lines(text, found):
    assert list(find_foreign(text)) == found
    if found:
        line, piece = found[0]
        with pytest.raises(UsageError) as caught:
            parse_query("x", f"{HEADER}-- param: n integer\n{text}")
        assert f"line {line + 2}: {piece} is a placeholder of another tool" in caught.value.message
        assert "write :name" in caught.value.hint


@pytest.mark.parametrize(
    ("written", "kind", "default"),
    [
        ("'failed'", "text", "failed"),
        ("'it''s'", "text", "it's"),
        ("''", "text", ""),
        ("'null'", "text", "null"),
        ("NULL", "text", None),
        ("'a -- b in c'", "text", "a -- b in c"),
        ("O'Higgins", "text", "O'Higgins"),
        ("'7d'", "timestamp", "7d"),
        ("'10'", "integer", "10"),
        ("'true'", "boolean", "true"),
        ("1 day", "interval", "1 day"),
    ],
)
def test_a_default_may_stand_in_quotes(written, kind, default):
    query = parse_query("x", f"{HEADER}-- param: a {kind} = {written} -- its help\nSELECT :a")
    assert (query.parameters[0].default, query.parameters[0].help) == (default, "its help")
    assert not query.parameters[0].is_required


def test_choices_may_stand_in_quotes():
    query = parse_query("x", f"{HEADER}-- param: a text = 'up' in 'up', 'down' -- help\nSELECT :a")
    assert query.parameters[0].choices == ("up", "down")
    assert query.parameters[0].default == "up"


@pytest.mark.parametrize("written", ["'failed", '"failed"', "'a'b'"])
def test_quotes_that_do_not_fit_are_refused_by_line(written):
    with pytest.raises(UsageError, match="line 2: cannot read the quotes"):
        parse_query("x", f"{HEADER}-- param: a text = {written}\nSELECT :a")


@pytest.mark.parametrize(
    ("text", "statements", "words"),
    [
        ("SELECT 1;\nSELECT 2", 2, "SELECT in line 2"),
        ("SET x = 1;\n\n-- then\nUPDATE t SET a = 1;\n(SELECT 2)", 3, "UPDATE in line 4, one in line 5"),
        ("SELECT ';';\n" * 9, 9, "SELECT in line 2, SELECT in line 3, SELECT in line 4 and 5 more"),
    ],
)
def test_of_several_statements_those_that_cannot_run_are_named(text, statements, words):
    with pytest.raises(UsageError) as caught:
        parse_query("x", text, needs_header=False)
    assert caught.value.message == f"it holds {statements} statements; behind the first one: {words}"


@pytest.mark.parametrize("text", ["SELECT 1 AS a", "/* plain */\nSELECT 1 AS a", "-- plain\nSELECT 1 AS a;"])
@pytest.mark.parametrize("mark", ["", "\N{BYTE ORDER MARK}"])
def test_a_file_without_a_header_can_be_read(tmp_path, text, mark):
    file = tmp_path / "busy.sql"
    file.write_text(mark + text, "utf-8")
    query = read_query(file, "busy", needs_header=False)
    assert query.summary in ("busy", "plain")
    assert "\N{BYTE ORDER MARK}" not in query.text


def test_a_byte_order_mark_before_the_header_is_skipped(tmp_path):
    file = tmp_path / "busy.sql"
    file.write_text(f"\N{BYTE ORDER MARK}{HEADER}-- param: n integer\nSELECT :n", "utf-8")
    assert [parameter.name for parameter in read_query(file, "busy").parameters] == ["n"]
    file.write_text(f"{HEADER}SELECT 1,\n\N{BYTE ORDER MARK} 2", "utf-8")
    with pytest.raises(UsageError, match="line 3: a byte order mark"):
        read_query(file, "busy")
