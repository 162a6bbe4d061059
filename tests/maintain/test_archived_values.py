"""Every value comes back as it was, whatever role and database have set for cleanup and undo."""

import pytest

from iacalls_cli.errors import DatabaseError
from tests.support.cleanups import archived
from tests.support.servers import OWNER

RULE = """[maintain.rules.r]
table = "v"
age_column = "created_at"
age = "30d"
"""
VALUES = """
CREATE TABLE v (id int PRIMARY KEY, created_at timestamp, words text[], nested int[][], amount money, day date, moment timestamptz,
                span interval, raw bytea, half float8, few real, times tsrange, pair point);
INSERT INTO v VALUES
    (1, '2020-03-04 05:06:07.000008', '{a,NULL,"NULL","null",""}', '{{1,NULL},{2,3}}', 1234.56::numeric::money, '2020-03-04',
     '2020-03-04 05:06:07+02', '1 year 2 mons -3 days +04:05:06.7', '\\x00415c', 0.1::float8 + 0.2, 0.1::real / 3,
     '["2020-03-04 05:06:07",)', '(0.1,0.2)'),
    (2, '2020-12-31', '{}', NULL, (-7.01)::numeric::money, '0044-03-15 BC', '-infinity', '-1 day', '', 'NaN', '-infinity', 'empty', NULL);
"""
EXACT = "SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'"
HOSTILE = {
    "array_nulls": "off", "DateStyle": "SQL, DMY", "IntervalStyle": "sql_standard", "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape", "extra_float_digits": "-15", "transform_null_equals": "on", "xmloption": "document",
    "standard_conforming_strings": "off", "quote_all_identifiers": "on", "default_transaction_isolation": "serializable",
}  # fmt: skip


@pytest.fixture
def owner(server, database, use, configure):
    """A session of the owner on the database, which is the target of the commands."""
    use(database)
    configure(RULE)
    with server.connect(database, OWNER) as connection:
        connection.execute(EXACT)
        yield connection


@pytest.fixture
def set_for(server, database):
    """Set something for the database or for the role in it, from the next session on."""

    def use(settings, whom):
        target = {"database": f"DATABASE {database}", "role": f"ROLE {OWNER} IN DATABASE {database}"}[whom]
        with server.connect(database) as superuser:
            for name, value in settings.items():
                superuser.execute(f"ALTER {target} SET {name} = '{value}'")

    return use


def values(connection, columns="*"):
    return connection.execute(f"SELECT v::text FROM (SELECT {columns} FROM v ORDER BY id) AS v").fetchall()


@pytest.mark.parametrize("whom", ["database", "role"])
@pytest.mark.parametrize("when", ["before both", "between them"])
def test_settings_that_decide_how_values_are_written_and_read(owner, cleanup, undo, set_for, whom, when):
    owner.execute(VALUES)
    before = values(owner)
    if when == "before both":
        set_for(HOSTILE, whom)
    done = cleanup("--only", "r")
    assert done.code == 0, done.err
    if when == "between them":
        set_for(HOSTILE, whom)
    for options in (("--dry-run",), ()):
        back = undo("newest", *options)
        assert back.code == 0, back.err
        assert [(row["restored"], row["conflicts"]) for row in back.json["data"]] == [(2, 0)]
    assert values(owner) == before
    assert [row["present"] for row in undo("newest").json["data"]] == [2]


def test_the_archive_does_not_depend_on_them(owner, cleanup, undo, set_for):
    owner.execute(VALUES)
    plain = archived(cleanup("--only", "r").json["run"]["archive"])
    assert undo("newest").code == 0
    set_for(HOSTILE, "role")
    assert archived(cleanup("--only", "r").json["run"]["archive"]) == plain
    (first, _) = plain["public", "v"]
    assert (first["words"], first["day"], first["span"]) == (
        '{a,NULL,"NULL","null",""}',
        "2020-03-04",
        "1 year 2 mons -3 days +04:05:06.7",
    )


@pytest.mark.parametrize("value", ["<a/><b/>", "text <b/> text", "", '<?xml version="1.0"?><a/>', "<!DOCTYPE a><a/>"])
def test_documents_and_pieces_of_xml(owner, cleanup, undo, set_for, value):
    try:
        owner.execute("SELECT '<a/>'::xml")
    except DatabaseError:  # it is not supported
        pytest.skip("this server has no XML")
    owner.execute("CREATE TABLE v (id int PRIMARY KEY, created_at timestamp, x xml); SET xmloption = content")
    owner.execute("INSERT INTO v VALUES (1, '2020-01-01', %s::text::xml)", [value])
    before = values(owner)
    set_for({"xmloption": "document"}, "database")
    assert cleanup("--only", "r").code == 0
    back = undo("newest")
    assert (back.code, back.json["data"][0]["restored"]) == (0, 1)
    assert values(owner) == before


def test_amounts_in_another_locale(server, owner, cleanup, undo, set_for):
    locales = [name for (name,) in owner.execute("SELECT collname FROM pg_collation WHERE collprovider = 'c'")]
    other = next((name for name in ("de_DE.utf8", "es_CO.utf8", "en_US.utf8", "C.utf8") if name in locales), "C")
    owner.execute("CREATE TABLE v (id int PRIMARY KEY, created_at timestamp, amount money)")
    owner.execute(
        "INSERT INTO v VALUES (1, '2020-01-01', 1234.56::numeric::money), (2, '2020-01-01', (-0.05)::numeric::money)"
    )
    before = values(owner, "id, amount::numeric")
    set_for({"lc_monetary": other}, "database")
    assert cleanup("--only", "r").code == 0
    set_for({"lc_monetary": "C"}, "database")
    back = undo("newest")
    assert back.code == 0, back.err
    assert values(owner, "id, amount::numeric") == before


@pytest.mark.postgres(">= 17")
def test_a_short_transaction_timeout_of_the_role(owner, cleanup, undo, set_for):
    owner.execute("CREATE TABLE v (id int PRIMARY KEY, created_at timestamp, t text)")
    owner.execute("INSERT INTO v SELECT g, '2020-01-01', repeat('x', 100) FROM generate_series(1, 30000) AS g")
    set_for({"transaction_timeout": "30ms", "statement_timeout": "10ms"}, "role")
    assert cleanup("--only", "r").json["data"][0]["deleted"] == 30000
    back = undo("newest")
    assert back.code == 0, back.err
    assert back.json["data"][0]["restored"] == 30000
