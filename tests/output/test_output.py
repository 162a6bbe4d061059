"""Every output format, with a row that is hard to show."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest
from psycopg import sql
from rich.cells import cell_len

from iacalls_cli.output.cells import CHUNK_ROWS
from iacalls_cli.output.layout import Extent, fit_columns, fits_whole, fold_header
from iacalls_cli.output.plain import MEASURED_CHARACTERS, MEASURED_ROWS
from iacalls_cli.output.terminal import print_tables
from iacalls_cli.output.write import Format, write_result
from iacalls_cli.table import Column, Result, Table
from iacalls_cli.text import one_line, pretty_size, printable

NASTY = {
    "quotes": """She said "it's" \\ `so`""",
    "lines": "one\ntwo\r\nthree",
    "tab": "a\tb",
    "null": None,
    "empty": "",
    "emoji": "🎉 ñandú ¿sí? 日本",
    "rtl": "עברית العربية",
    "markup": "[bold red]no[/] [link=x]",
    "control": "\x1b[31mred\x1b[0m\x07\x00\x9b2J\x7f",
    "override": "\u202egnp.exe\u2066",
    "pipes": "a|b, c;d <b>&amp;</b> *x* _y_ #z",
    "spaces": "  x  ",
}
TEXTS = Table(
    tuple(Column(name) for name in NASTY), [tuple(NASTY.values()), tuple(None for _ in NASTY)], "Hard to [show]"
)
TYPED = Table(
    (Column("number", "number"), Column("big", "number"), Column("not_a_number", "number"), Column("flag", "boolean"),
     Column("json", "json"), Column("list", "array"), Column("size", "bytes"), Column("moment", "time"), Column("text")),
    [("1.50", "12345678901234567890.0001", "NaN", "t", '{"a": [1.0, "ñ\x7f"]}', '{a,NULL,"x,\\"y"}', "3221225472",
      "2025-10-29 14:03:22.123456", "NULL"),
     (7, -1, None, False, None, None, 8192, None, None)],
)  # fmt: skip
ROWS = 3 * CHUNK_ROWS
TARGET = {"host": "h", "port": "5432", "database": "d", "user": "u", "source": "--dsn"}


def written(table, output, more=None):
    stream = io.StringIO(newline="")
    write_result(Result(table, more or {}), Format(output), "report x", TARGET, stream)
    return stream.getvalue()


@pytest.mark.golden
@pytest.mark.parametrize("output", list(Format))
@pytest.mark.parametrize(("name", "table"), [("texts", TEXTS), ("typed", TYPED)])
def test_golden(output, name, table, golden):
    golden(f"{name}.{output}.txt", written(table, output))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.mark.golden
@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize(("name", "table"), [("texts", TEXTS), ("typed", TYPED)])
def test_golden_at_a_terminal(name, table, width, golden, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    print_tables([table], stream)
    shown = stream.getvalue()
    golden(f"{name}.terminal-{width}.txt", shown)
    assert all(cell_len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= width for line in shown.splitlines())


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv", "tsv", "markdown", "html"])
def test_no_control_character_reaches_a_terminal(output, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal(newline="")
    write_result(Result(TEXTS), Format(output), "x", TARGET, stream)
    left = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()) if output == "table" else stream.getvalue()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u2066]", left)
    assert "bold red" in left


def test_csv_is_what_csv_readers_read():
    rows = list(csv.reader(io.StringIO(written(TEXTS, "csv"), newline="")))
    assert rows[0] == list(NASTY)
    assert rows[1] == ["" if value is None else value for value in NASTY.values()]
    assert written(TEXTS, "csv").count("\r\n") == 4  # header, two rows, and one inside a field


def test_null_is_told_from_empty_text():
    table = Table((Column("a"), Column("b")), [(None, "")])
    assert written(table, "csv") == 'a,b\r\n,""\r\n'
    assert written(table, "tsv") == "a\tb\n\\N\t\n"
    assert json.loads(written(table, "json"))["data"] == [{"a": None, "b": ""}]
    assert "NULL" in written(table, "table")
    assert "| *NULL* |  |" in written(table, "markdown")
    assert '<td class="null">NULL</td><td></td>' in written(table, "html")


def test_csv_and_tsv_come_back_through_copy(connection):
    """PostgreSQL itself reads our CSV and TSV, NULL and '' included."""
    texts = {name: value for name, value in NASTY.items() if name != "control"}  # NUL cannot be stored
    table = Table(tuple(Column(name) for name in texts), [tuple(texts.values()), tuple(None for _ in texts)])
    columns = ", ".join(f'"{name}" text' for name in texts)
    connection.execute(f"CREATE TEMP TABLE back ({columns})")
    for output, options in [("csv", "(FORMAT csv, HEADER)"), ("tsv", "(FORMAT text)")]:
        connection.execute("TRUNCATE back")
        text = written(table, output)
        if output == "tsv":
            text = text.split("\n", 1)[1]
        with connection.cursor().copy(f"COPY back FROM STDIN {options}") as copy:
            copy.write(text)
        assert connection.execute("SELECT * FROM back").fetchall() == [
            tuple(texts.values()),
            tuple(None for _ in texts),
        ]


def test_json_envelope_has_its_documented_shape():
    further = Table((Column("a", "number"),), [("1",)])
    answer = json.loads(written(TYPED, "json", {"parameters": {"limit": None}, "findings": further}))
    assert list(answer) == ["command", "target", "parameters", "findings", "data"]
    assert answer["command"] == "report x"
    assert answer["target"] == TARGET
    assert answer["findings"] == [{"a": 1}]
    first, second = answer["data"]
    assert first["flag"] is True
    assert second["flag"] is False
    assert first["json"] == {"a": [1.0, "ñ\x7f"]}
    assert first["list"] == ["a", None, 'x,"y']
    assert first["not_a_number"] == "NaN"
    assert first["size"] == 3_221_225_472
    assert second["size"] == 8192


def test_json_keeps_every_digit():
    text = written(TYPED, "json")
    parsed = json.loads(text, parse_float=Decimal)
    assert parsed["data"][0]["big"] == Decimal("12345678901234567890.0001")
    assert parsed["data"][0]["number"] == Decimal("1.50")
    assert str(parsed["data"][0]["number"]) == "1.50"


def test_json_lines_are_one_object_a_line():
    lines = written(TEXTS, "jsonl").splitlines()
    assert [json.loads(line)["quotes"] for line in lines] == [NASTY["quotes"], None]


@pytest.mark.parametrize("output", ["csv", "tsv", "json", "jsonl"])
def test_rows_are_written_while_others_still_arrive(output):
    seen = []
    stream = io.StringIO()

    def rows():
        for number in range(ROWS):
            seen.append(stream.getvalue().count("\n"))
            yield (str(number),)

    write_result(Result(Table((Column("a"),), rows())), Format(output), "x", TARGET, stream)
    assert seen[-1] > CHUNK_ROWS
    assert stream.getvalue().count("\n") >= ROWS


def test_html_and_markdown_hold_no_foreign_markup():
    html = written(TEXTS, "html")
    assert "<b>" not in html
    assert "&lt;b&gt;&amp;amp;" in html
    markdown = written(TEXTS, "markdown")
    assert "a\\|b" in markdown
    assert "<b>" not in markdown
    assert all(line.count(" | ") == len(NASTY) - 1 for line in markdown.splitlines() if line.startswith("| "))


@pytest.mark.parametrize(
    ("text", "shown"), [("a\nb", "a\\nb"), ("\x1b[0m", "\\x1b[0m"), ("é\u2028", "é\\u2028"), ("\ud800", "\\ud800")]
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_one_line():
    assert one_line("a\n  b\tc") == "a b c"


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 kB"), (5 * 2**40, "5.0 TB"), (5 * 2**50, "5120.0 TB")],
)
def test_pretty_size(size, shown):
    assert pretty_size(size) == shown


def test_columns_shrink_before_a_table_becomes_records():
    extents = [Extent("text", 40, "a"), Extent("number", 8, "b"), Extent("time", 26, "c"), Extent("text", 13, "phone")]
    assert fits_whole(extents, 93)
    assert fit_columns(extents, 93) == [40, 8, 26, 13]
    assert fit_columns(extents, 80) == [27, 8, 26, 13]
    assert fit_columns(extents, 54) == [10, 8, 17, 13]
    assert fit_columns(extents, 53) is None


def test_prose_is_wrapped_before_text_is_cut():
    extents = [Extent("text", 36, "index"), Extent("prose", 34, "definition")]
    assert fit_columns(extents, 60) == [36, 22]
    assert fit_columns(extents, 40) == [24, 14]


def test_headers_fold_only_where_they_must():
    extents = [Extent("text", 8, "grupo"), Extent("number", 2, "total_clientes")]
    assert fit_columns(extents, 24) == [8, 14]
    assert fit_columns(extents, 23) == [8, 8]


def test_headers_fold_at_underscores():
    assert fold_header("batch_total_recipients", 10) == "batch_\ntotal_\nrecipients"
    assert fold_header("batch_total_recipients", 12) == "batch_total_\nrecipients"
    assert fold_header("name", 2) == "name"


WIDE = {"王小明": "wide letters", "Jose\u0301": "a combining accent", "😀": "an emoji", "é": "composed", "": "nothing"}


def test_a_piped_table_is_aligned_by_terminal_cells():
    table = Table((Column("名前"), Column("what")), list(WIDE.items()))
    lines = written(table, "table").splitlines()
    starts = [cell_len(line[: line.index(what)]) for line, what in zip(lines[2:], WIDE.values(), strict=True)]
    assert starts == [8] * len(WIDE)
    assert cell_len(lines[0][: lines[0].index("what")]) == 8
    assert lines[1] == f"{'-' * 6}  {'-' * 18}"


@pytest.mark.parametrize("text", ["王" * 9, "e\u0301" * 18, "😀" * 9, "x" * 18])
def test_pipe_and_terminal_measure_alike(text, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    table = Table((Column("a"), Column("b")), [(text, "|")])
    stream = Terminal()
    print_tables([table], stream)
    piped = next(line for line in written(table, "table").splitlines() if "|" in line)
    drawn = next(line for line in stream.getvalue().splitlines() if "|" in line)
    assert cell_len(piped[: piped.index("|")]) == cell_len(drawn[: drawn.index("|")]) == 20


def test_numbers_with_wide_headers_stand_to_the_right():
    table = Table((Column("数量", "number"), Column("a")), [(7, "x"), (1234567, "y")])
    assert written(table, "table").splitlines() == ["   数量  a", "-------  ---", "      7  x", "1234567  y"]


def test_a_long_piped_table_is_written_while_rows_arrive():
    seen = []
    stream = io.StringIO()

    def rows():
        for number in range(MEASURED_ROWS + ROWS):
            seen.append(stream.getvalue().count("\n"))
            yield (str(number), "x" * (30 if number == MEASURED_ROWS + 1 else 3), "|")

    columns = Column("a"), Column("b"), Column("c")
    write_result(Result(Table(columns, rows())), Format.TABLE, "x", TARGET, stream)
    assert seen[MEASURED_ROWS - 1] == 0
    assert seen[-1] > MEASURED_ROWS
    lines = stream.getvalue().splitlines()
    assert {line.index("|") for line in lines[2 : MEASURED_ROWS + 2]} == {len("4999") + 2 + len("x" * 3) + 2}
    assert {line.index("|") for line in lines[MEASURED_ROWS + 2 :]} == {len("4999") + 2 + 30 + 2}
    assert len(lines) == MEASURED_ROWS + ROWS + 2


def test_few_rows_that_are_very_long_are_not_held_either():
    seen = []
    stream = io.StringIO()

    def rows():
        for _ in range(4 * CHUNK_ROWS):
            seen.append(stream.tell())
            yield ("x" * (2 * MEASURED_CHARACTERS // CHUNK_ROWS),)

    write_result(Result(Table((Column("a"),), rows())), Format.TABLE, "x", TARGET, stream)
    assert seen[2 * CHUNK_ROWS - 1] > 0


@pytest.mark.parametrize(
    ("rows", "lines"), [([], ["a", "---"]), ([(None,)], ["a", "----", "NULL"]), ([("",)], ["a", "---", ""])]
)
def test_a_piped_table_without_much_in_it(rows, lines):
    assert written(Table((Column("a"),), rows), "table").splitlines() == lines


COPIED = ["a", r"\.", "", None, r"\.x", r"x\.", '"', ",", " ", "'", r"\N", r"\\.", "NULL", "ñ王", "a\nb", r"\. "]


@pytest.mark.parametrize("text", COPIED)
@pytest.mark.parametrize("name", ["x", r"\."])
def test_csv_of_one_column_is_what_copy_writes(server, text, name):
    with server.connect("postgres") as connection, connection.cursor() as cursor:
        statement = sql.SQL("COPY (SELECT {} AS {}) TO STDOUT (FORMAT csv, HEADER)").format(
            sql.Literal(text) + sql.SQL("::text"), sql.Identifier(name)
        )
        with cursor.copy(statement) as copy:
            theirs = b"".join(bytes(piece) for piece in copy).decode()
    assert written(Table((Column(name),), [(text,)]), "csv").replace("\r\n", "\n") == theirs


def test_a_lone_end_mark_comes_back_through_copy(server):
    text = written(Table((Column("x"),), [("a",), (r"\.",), ("b",)]), "csv")
    with server.connect("postgres") as connection:
        connection.execute("CREATE TEMP TABLE back (x text)")
        with connection.cursor().copy("COPY back FROM STDIN (FORMAT csv, HEADER)") as copy:
            copy.write(text)
        assert connection.execute("SELECT array_agg(x) FROM back").fetchone() == (["a", r"\.", "b"],)
