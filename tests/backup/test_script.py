"""Reading the SQL of a dump: where statements end, and where a COPY's rows do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iacalls_cli.errors import DatabaseError, IacallsError, UsageError
from iacalls_cli.operations.backup.run_script import run_script
from iacalls_cli.operations.backup.script import COPY_FROM, Script

END = b";\n"


def read(text, piece=1 << 20):
    """The statements of a script that comes in pieces, and the rows of each COPY behind its statement."""
    script = Script(text[at : at + piece] for at in range(0, len(text), piece))
    found = []
    for statement in script.statements():
        found.append(statement)
        if COPY_FROM.fullmatch(statement):
            found.append(b"".join(script.data()))
    return found


STATEMENTS = [
    b"SELECT 1;\n",
    b"COMMENT ON TABLE t IS 'a;\nb'';\n--c;\n';\n",
    b'CREATE TABLE public."a;\n""b" (\n    id integer\n);\n',
    b"CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1; -- it's;\nEND;\n$$;\n",
    b"CREATE FUNCTION f() RETURNS text AS $_$ SELECT '$$;\n';\n$_$ LANGUAGE sql;\n",
    b"CREATE FUNCTION f() RETURNS text AS $Body$\n;\n$body$;\n$Body$ LANGUAGE sql;\n",
    b"CREATE FUNCTION f() RETURNS int\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT 1;\n SELECT CASE WHEN true THEN 1 END;\n SELECT 3;\nEND;\n",
    b"CREATE RULE r AS\n    ON INSERT TO t DO ( INSERT INTO a VALUES (1);\n INSERT INTO b VALUES (2);\n);\n",
    b"INSERT INTO t VALUES (E'\\';\n', 'x\\', \"begin\");\n",
    b"SELECT /* ; /* nested; */ ' ;\n */ 1 -- '\n;\n",
    b"SELECT a$b$c, 1; ".rstrip() + b"\n",
    b'CREATE VIEW v AS SELECT begin_at, "end" FROM t;\n',
]  # fmt: skip


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_statement_ends_where_psql_ends_it(statement, piece):
    before, behind = b"SET a = b;\n", b"SET c = d;\n"
    text = b"--\n-- Name: x; Type: y\n--\n\n" + before + b"\n\n" + statement + b"\n" + behind
    assert read(text, piece) == [before, statement, behind]


def test_two_statements_on_a_line_and_a_comment_behind_one():
    assert read(b"SELECT 1; SELECT 2; -- and;\nSELECT 3;\n") == [b"SELECT 1;", b"SELECT 2;", b"SELECT 3;\n"]


@pytest.mark.parametrize("name", [b"public.t", b'"a;b"."c\nd" ("x;""y", z)', b'"COPY" (a)'])
def test_the_rows_of_a_copy_are_not_read_as_sql(name):
    copy = b"COPY " + name + b" FROM stdin;\n"
    rows = b"DROP TABLE t;\n'\t\\\\.\n\\N\n\\\\connect x\n"
    for piece in (1, 5, 1 << 20):
        assert read(copy + rows + b"\\.\n\n\nSELECT 1;\n", piece) == [copy, rows, b"SELECT 1;\n"]


def test_windows_line_ends():
    assert read(b"COPY t FROM stdin;\r\n1\r\n\\.\r\nSELECT 1;\r\n") == [
        b"COPY t FROM stdin;\r\n", b"1\r\n", b"SELECT 1;\r\n"]  # fmt: skip


def test_a_copy_without_rows():
    assert read(b"COPY t (a) FROM stdin;\n\\.\nSELECT 1;\n") == [b"COPY t (a) FROM stdin;\n", b"", b"SELECT 1;\n"]


def test_a_function_that_holds_a_copy_is_no_copy():
    body = b"CREATE FUNCTION f() RETURNS text AS $$\nCOPY t FROM stdin;\nALTER TABLE x OWNER TO y;\n\\.\n$$ LANGUAGE sql;\n"
    assert read(body) == [body]


@pytest.mark.parametrize(
    "text",
    [b"SELECT 1", b"SELECT ';\n", b"SELECT $$;\n", b"/* SELECT 1;\n", b"COPY t FROM stdin;\n1\n", b"SELECT (1;\n"],
)
def test_a_script_that_ends_within_a_statement_is_cut_short(text):
    with pytest.raises(IacallsError, match="middle of a statement"):
        read(text)


@pytest.mark.parametrize(
    "line", [b"\\connect other", b"\\! rm -rf x", b"\\i other.sql", b"\\restrictive", b"\\.", b"\\copy t from x"]
)
def test_a_command_of_psql_is_never_obeyed(line):
    with pytest.raises(UsageError, match="command for psql"):
        read(b"SELECT 1;\n" + line + b"\n")


def test_the_lines_that_restrict_psql_are_passed_over():
    assert read(b"\\restrict aBc\n\nSELECT 1;\n\n\\unrestrict aBc\n\n") == [b"SELECT 1;\n"]


def test_many_lines_in_one_value_take_time_in_proportion():
    """Each line ends like a statement; read anew from the start each time, this would take hours."""
    value = b"COMMENT ON TABLE t IS '" + b"x;\n" * 300_000 + b"';\n"
    assert read(value, 1 << 16) == [value]


PLAIN = st.text(alphabet="ab \n;'\"\\$-/*(é", max_size=12).map(str.encode)
TAGS = st.sampled_from([b"$$", b"$a$", b"$_x1$"])


def quoted(text):
    return b"'" + text.replace(b"'", b"''") + b"'"


PART = st.one_of(
    PLAIN.map(quoted),
    PLAIN.map(lambda text: b'"' + text.replace(b'"', b'""') + b'"'),
    PLAIN.map(lambda text: b" E'" + text.replace(b"\\", b"\\\\").replace(b"'", b"\\'") + b"'"),
    st.tuples(TAGS, PLAIN).map(lambda pair: b" " + pair[0] + pair[1].replace(b"$", b"") + pair[0]),
    st.just(b"-- it's;\n"),
    st.just(b"/* '; /* ; */ \" */"),
    st.sampled_from([b" a ", b", ", b" 1 ", b"\n", b"(x;\ny)"]),
)
STATEMENT = st.lists(PART, max_size=6).map(lambda parts: b"SELECT " + b" ".join(parts) + END)


@settings(max_examples=200, deadline=None)
@given(st.lists(STATEMENT, max_size=4), st.integers(1, 40))
def test_whatever_is_quoted_each_statement_comes_out_whole(statements, piece):
    assert read(b"".join(statements), piece) == statements


@pytest.fixture
def session(server, empty_database):
    with server.connect(empty_database) as connection:
        yield connection


def test_what_is_read_is_run(session):
    text = b'CREATE TABLE "t;1" (a text);\nCOPY public."t;1" (a) FROM stdin;\n;\'\n\\\\.\n\\.\nSELECT 1;\n' * 1
    run_script(session, [text], lambda statement: statement)
    assert session.execute('SELECT a FROM "t;1"').fetchall() == [(";'",), ("\\.",)]


def test_a_rule_may_leave_out_a_copy_with_its_rows(session):
    text = b"CREATE TABLE t (a int);\nCOPY t FROM stdin;\n1\n\\.\nINSERT INTO public.t VALUES (2);\n"
    run_script(session, [text], lambda statement: None if COPY_FROM.fullmatch(statement) else statement)
    assert session.execute("SELECT a FROM public.t").fetchall() == [(2,)]


def test_an_error_names_the_statement_without_a_rows_values(session):
    with pytest.raises(DatabaseError) as caught:
        run_script(session, [b"INSERT INTO public.nosuch VALUES ('$2b$12$secret');\n"], lambda statement: statement)
    assert caught.value.message.endswith(
        '"public.nosuch" does not exist (line 1 of the SQL) (in: INSERT INTO public.nosuch)'
    )


def test_the_same_statement_over_and_over(session):
    """psycopg would prepare it at the fifth time."""
    session.execute("CREATE TABLE t (a int)")
    run_script(session, [b"INSERT INTO public.t VALUES (1);\n" * 8], lambda statement: statement)
    assert session.execute("SELECT count(*) FROM public.t").fetchone() == (8,)


def test_an_error_that_is_pardoned_ends_nothing(session):
    seen = []

    def pardons(statement: bytes, error: DatabaseError) -> bool:
        seen.append((statement, error.sqlstate))
        return True

    run_script(session, [b"DROP TABLE t;\nCREATE TABLE t ();\n"], lambda statement: statement, pardons)
    assert seen == [(b"DROP TABLE t;\n", "42P01")]
    assert session.execute("SELECT to_regclass('t')::text").fetchone() == ("t",)
