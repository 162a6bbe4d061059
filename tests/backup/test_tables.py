"""`iacalls backup restore --table` and `--data-only`: rows into a database that is in use."""

import re
from pathlib import Path

import pytest

from tests.support.nasty_database import dump_file, hashes, sequences
from tests.support.servers import OWNER, READER

SETUP = r"""
CREATE SCHEMA "s 2";
CREATE TYPE public.mood AS ENUM ('ok', 'no');
CREATE TABLE public.a_child (id serial PRIMARY KEY, parent int NOT NULL, mood public.mood, o jsonb DEFAULT '{}');
CREATE TABLE public.z_parent (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, best int, twice int GENERATED ALWAYS AS (best * 2) STORED);
ALTER TABLE public.a_child ADD CONSTRAINT "fk;1" FOREIGN KEY (parent) REFERENCES public.z_parent ON DELETE CASCADE;
ALTER TABLE public.z_parent ADD CONSTRAINT fk2 FOREIGN KEY (best) REFERENCES public.a_child;
CREATE TABLE "s 2"."Two;
lines" ("x.y" text, n serial);
CREATE TABLE public."with.point" (a text);
CREATE TABLE public.parts (day int) PARTITION BY LIST (day);
CREATE TABLE public.part_1 PARTITION OF public.parts FOR VALUES IN (1);
CREATE TABLE public.base (a int);
CREATE TABLE public.heir (b int) INHERITS (public.base);
INSERT INTO public.z_parent (best) VALUES (NULL), (NULL), (NULL);
INSERT INTO public.a_child (parent, mood, o) SELECT 1 + n % 3, 'no', '["x;", null]' FROM generate_series(1, 50) AS n;
UPDATE public.z_parent SET best = id * 2;
INSERT INTO "s 2"."Two;
lines" VALUES (E'\\.\n;'), (''), (NULL);
INSERT INTO public."with.point" VALUES ('a');
INSERT INTO public.parts VALUES (1), (1);
INSERT INTO public.base VALUES (1);
INSERT INTO public.heir VALUES (2, 3);
DELETE FROM public.a_child WHERE id > 48;
SELECT lo_from_bytea(77, 'lo');
"""
TABLES = (
    'public.a_child, public.z_parent, "s 2"."Two;\nlines", public."with.point", public.parts, public.base, public.heir'
)


@pytest.fixture(scope="module")
def source(server):
    name = server.create_database()
    with server.connect(name, OWNER) as connection:
        connection.execute(SETUP)
    yield name
    server.drop_database(name)


@pytest.fixture(params=["custom", "directory", "plain", "plain file", "tar file"])
def material(request, server, source, use, iacalls, tmp_path):
    """A backup in each format, and files of pg_dump; the source is the target."""
    use(source)
    kind, _, is_file = request.param.partition(" ")
    if is_file:
        return dump_file(server, source, tmp_path / "file", f"--format={kind}", role=OWNER)
    outcome = iacalls("backup", "create", "-o", "json", "--format", kind)
    assert outcome.code == 0, outcome.err
    return outcome.json["data"][0]["id"]


@pytest.fixture
def plain(server, source, tmp_path):
    return dump_file(server, source, tmp_path / "file", role=OWNER)


@pytest.fixture
def target(server, source, use):
    """A copy of the source that is the target, to be changed."""
    name = server.create_database(template=source)
    use(name)
    yield name
    server.drop_database(name)


def rows(server, name, query):
    with server.connect(name, OWNER) as connection:
        return connection.execute(query).fetchall()


def restore(iacalls, *arguments):
    outcome = iacalls("backup", "restore", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome


def side_schema(outcome):
    return re.search(r"restored_\d{8}t\d{6}z", outcome.err)[0]


def test_tables_come_back_beside_the_live_ones(server, material, target, iacalls):
    with server.connect(target, OWNER) as connection:
        connection.execute('UPDATE public.a_child SET mood = \'ok\'; DELETE FROM "s 2"."Two;\nlines"')
    before = hashes(server, target)
    wanted = ["a_child", "public.z_parent", "s 2.Two;\nlines", "with.point"]
    outcome = restore(iacalls, material, *(word for name in wanted for word in ("--table", name)), "-o", "json")
    side = side_schema(outcome)
    assert {(row["table"], row["into"], row["rows"]) for row in outcome.json["data"]} == {
        ("a_child", f"{side}.a_child", 48), ("z_parent", f"{side}.z_parent", 3),
        ("s 2.Two;\nlines", f"{side}.Two;\nlines", 3), ("with.point", f"{side}.with.point", 1)}  # fmt: skip
    assert rows(server, target, f"SELECT DISTINCT mood::text, o FROM {side}.a_child") == [("no", ["x;", None])]
    assert rows(server, target, f"SELECT best, twice FROM {side}.z_parent ORDER BY id") == [(2, 4), (4, 8), (6, 12)]
    after = hashes(server, target)
    assert {key: after[key] for key in before} == before


@pytest.mark.parametrize("name", ["parts", "heir"])
def test_a_table_that_is_not_whole_by_itself_is_refused(server, target, plain, iacalls, name):
    """A child made beside would show its rows in the live parent as well."""
    before = hashes(server, target)
    outcome = iacalls("backup", "restore", plain, "--table", name)
    assert outcome.code == 2
    assert f"{name} is partitioned, typed, or inherits" in outcome.error
    assert hashes(server, target) == before
    restore(iacalls, plain, "--table", "part_1")


def test_a_name_that_is_not_in_the_dump_is_refused(server, plain, target, iacalls):
    before = hashes(server, target)
    for option in ([], ["--data-only"]):
        outcome = iacalls("backup", "restore", plain, "--table", "nosuch", "--table", "other.a_child", *option)
        assert outcome.code == 2
        assert "has no table nosuch, other.a_child" in outcome.error
    assert hashes(server, target) == before
    assert rows(server, target, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'restored%'") == []


def test_rows_into_the_empty_tables_of_the_whole_database(server, source, material, target, iacalls):
    """A full dump's tables come in the order of their names: keys are checked when all are there."""
    with server.connect(target) as connection:
        connection.execute(f"TRUNCATE {TABLES} RESTART IDENTITY; SELECT lo_unlink(77)")
    restore(iacalls, material, "--data-only")
    expected = {key: found for key, found in hashes(server, source).items() if key[0] != "rights on"}
    assert hashes(server, target).items() >= expected.items()
    # The last two ids were given to rows that are gone: they are not given again.
    assert sequences(server, target) == sequences(server, source)
    keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT condeferrable AND convalidated"
    assert rows(server, target, keys) == [(2,)]


def test_rows_that_break_a_key_are_not_brought_back(server, target, plain, iacalls):
    with server.connect(target, OWNER) as connection:
        connection.execute("TRUNCATE public.a_child, public.z_parent")
    before = hashes(server, target)
    outcome = iacalls("backup", "restore", plain, "--data-only", "--table", "a_child")
    assert outcome.code == 1
    assert "foreign key" in outcome.error
    assert hashes(server, target) == before


def test_rows_of_one_table_into_it(server, source, material, target, iacalls):
    with server.connect(target, OWNER) as connection:
        connection.execute("TRUNCATE public.a_child, public.z_parent; SELECT setval('a_child_id_seq', 7)")
    outcome = restore(iacalls, material, "--data-only", "--table", "z_parent", "--table", "a_child")
    assert "a_child_id_seq was moved forward to 50" in outcome.err
    for key in (("public", "a_child"), ("public", "z_parent")):
        assert hashes(server, target)[key] == hashes(server, source)[key]


def test_a_sequence_that_is_ahead_stays_there(server, target, plain, iacalls):
    with server.connect(target) as connection:
        connection.execute(f"TRUNCATE {TABLES}; SELECT lo_unlink(77); SELECT setval('a_child_id_seq', 900)")
    restore(iacalls, plain, "--data-only")
    assert rows(server, target, "SELECT last_value FROM a_child_id_seq") == [(900,)]


def test_a_table_that_is_not_empty_is_refused_with_all_others(server, plain, target, iacalls):
    with server.connect(target, OWNER) as connection:
        connection.execute("TRUNCATE public.a_child, public.z_parent; SELECT lo_unlink(77)")
    before = hashes(server, target)
    outcome = iacalls("backup", "restore", plain, "--data-only")
    assert outcome.code == 1
    assert "is not empty, nothing was changed" in outcome.error
    assert hashes(server, target) == before


def test_who_may_not_make_a_schema_is_told_so(server, target, plain, use, iacalls):
    use(target, READER)
    outcome = iacalls("backup", "restore", plain, "--table", "a_child")
    assert outcome.code == 1
    assert "permission denied" in outcome.error


def test_dry_run_changes_nothing(server, target, plain, iacalls):
    before = hashes(server, target)
    outcome = restore(iacalls, plain, "--table", "a_child", "--dry-run")
    assert "plan: bring the rows of a_child" in outcome.err
    assert hashes(server, target) == before


def test_a_file_cut_short_brings_nothing_back(server, target, plain, iacalls):
    text = Path(plain).read_bytes()
    at = text.index(b"COPY public.z_parent") + 49
    Path(plain).write_bytes(text[:at] + b"\n--\n-- PostgreSQL database dump complete\n--\n")
    before = hashes(server, target)
    outcome = iacalls("backup", "restore", plain, "--table", "a_child", "--table", "z_parent")
    assert outcome.code == 1
    assert hashes(server, target) == before
