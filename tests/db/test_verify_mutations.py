"""`db verify`: what changes the schema is found and repaired by the printed SQL, what only rewrites it is not reported."""

import random
import re

import pytest

from iacalls_cli.operations.db.catalog import ObjectKey, expected_catalog
from iacalls_cli.operations.db.repair import repair_script
from iacalls_cli.operations.db.statements import create, quote_name
from iacalls_cli.operations.db.verify import verify_database
from tests.db.test_verify import run_script

SAMPLE = 8
WHOLE = 100
TABLES = sorted(key.relation for key in expected_catalog() if key.kind == "table")
VIEWS = sorted(key.relation for key in expected_catalog() if key.kind == "view")
FUNCTION = "update_updated_at_column()"


def keys(kind):
    return sorted(key for key in expected_catalog() if key.kind == kind)


def free_columns():
    """Columns without a key, a check or a default, which nothing else depends on."""
    used = " ".join(text for key, text in expected_catalog().items() if key.kind in ("foreign key", "check", "view"))
    return [
        key for key in keys("column")
        if key.relation in TABLES and key.name not in used and ObjectKey("default", key.relation, key.name) not in expected_catalog()
    ]  # fmt: skip


def replaced(key, text):
    return f'ALTER TABLE {key.relation} DROP CONSTRAINT "{key.name}", ADD CONSTRAINT "{key.name}" {text}'


def change(chance, major):
    """One change of the catalog, and the object that it is found at."""
    expected = expected_catalog()
    table, view = chance.choice(TABLES), chance.choice(VIEWS)
    foreign, check, unique, index = (chance.choice(keys(k)) for k in ("foreign key", "check", "unique", "index"))
    trigger, column, default = (
        chance.choice(keys("trigger")),
        chance.choice(free_columns()),
        chance.choice(keys("default")),
    )
    required = chance.choice([key for key in keys("not null") if key.name != "id"])
    name, sequence = quote_name(column.name), f"{table}_id_seq"
    base = expected[foreign].split(" ON DELETE")[0]
    changes = {
        "persistence": ("ALTER TABLE whatsapp_conversations SET UNLOGGED", "table whatsapp_conversations"),
        "view option": (f"ALTER VIEW {view} SET ({chance.choice(['security_barrier', *(['security_invoker'] * (major >= 15))])})", f"view {view}"),
        "function option": (f"ALTER FUNCTION {FUNCTION} {chance.choice(['SECURITY DEFINER', 'STABLE', 'STRICT', 'SET work_mem = 64', 'PARALLEL SAFE', 'COST 1 IMMUTABLE'])}", f"function {FUNCTION}"),
        "function body": (f"CREATE OR REPLACE FUNCTION {FUNCTION} RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN {chance.choice(['NEW', 'OLD', 'NULL'])}; END'", f"function {FUNCTION}"),
        "identity": (f"ALTER TABLE {table} ALTER id DROP DEFAULT; DROP SEQUENCE {sequence}; ALTER TABLE {table} ALTER id ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME {sequence})", f"column {table}.id"),
        "generated": (f"ALTER TABLE {column.relation} DROP COLUMN {name}; ALTER TABLE {column.relation} ADD {name} {expected[column]} GENERATED ALWAYS AS (NULL) STORED", str(column)),
        "sequence": (f"ALTER SEQUENCE {sequence} {chance.choice(['AS smallint', 'MAXVALUE 100', 'CYCLE', 'INCREMENT -1 MINVALUE -50', 'AS smallint CYCLE', 'AS bigint MAXVALUE 9999', 'MAXVALUE 2147483646'])}", f"column {table}.id"),
        "replica identity": (f"ALTER TABLE {table} REPLICA IDENTITY NOTHING", f"table {table}"),
        "foreign key": (replaced(foreign, base + chance.choice([" ON DELETE RESTRICT", "", " ON UPDATE CASCADE", " DEFERRABLE", " ON DELETE SET DEFAULT", " MATCH FULL", " NOT VALID"])), str(foreign)),
        "no foreign key": (f'ALTER TABLE {foreign.relation} DROP CONSTRAINT "{foreign.name}"', str(foreign)),
        "check": (replaced(check, expected[check].replace("'p", "'q", 1).replace("'a", "'b", 1) if chance.random() < 0.5 else expected[check] + " NO INHERIT"), str(check)),
        "no check": (f"ALTER TABLE {check.relation} DROP CONSTRAINT {check.name}", str(check)),
        "unique": (replaced(unique, expected[unique] + chance.choice([" DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED", *([" INCLUDE (id)"] if unique.relation != "client_groups" else [])])), str(unique)),
        "no unique": (f"ALTER TABLE {unique.relation} DROP CONSTRAINT {unique.name}", str(unique)),
        "unique renamed": (f"ALTER TABLE {unique.relation} RENAME CONSTRAINT {unique.name} TO other_name", str(unique)),
        "unique index": (f"ALTER TABLE {unique.relation} DROP CONSTRAINT {unique.name}; CREATE UNIQUE INDEX other_index ON {unique.relation} {expected[unique].removeprefix('UNIQUE ')}", str(unique)),
        "index": (f"DROP INDEX {index.name}; " + re.sub(r"\((\S+)\)$", chance.choice([r"(\1 DESC)", r"(\1 NULLS FIRST)", r"(\1) WHERE false", r"(\1, id)", r"((\1 IS NULL))"]), expected[index]), str(index)),
        "index method": (f"DROP INDEX {index.name}; " + expected[index].replace("USING btree", "USING hash"), str(index)),
        "no index": (f"DROP INDEX {index.name}", str(index)),
        "trigger state": (f"ALTER TABLE {trigger.relation} {chance.choice(['DISABLE', 'ENABLE REPLICA', 'ENABLE ALWAYS'])} TRIGGER {trigger.name}", str(trigger)),
        "trigger": (f"DROP TRIGGER {trigger.name} ON {trigger.relation}; " + expected[trigger].replace("BEFORE", "AFTER"), str(trigger)),
        "type": (f"ALTER TABLE {column.relation} ALTER {name} TYPE {'varchar(900)' if 'character' in expected[column] else 'varchar(400)'}", str(column)),
        "column": (f"ALTER TABLE {column.relation} DROP COLUMN {name} CASCADE", str(column)),
        "null": (f"ALTER TABLE {required.relation} ALTER {required.name} DROP NOT NULL", str(required)),
        "default": (f'ALTER TABLE {default.relation} ALTER "{default.name}" DROP DEFAULT', str(default)),
        "sequence owner": (f"ALTER SEQUENCE {sequence} OWNED BY NONE", f"column {table}.id"),
        "view": ("CREATE OR REPLACE " + create("client_call_history")[18:].replace("WHERE client.is_active", "WHERE true"), "view client_call_history"),
        "no view": (f"DROP VIEW {view}", f"view {view}"),
    }  # fmt: skip
    if (
        expected[column] in ("jsonb", "bytea")
        or "timestamp" in expected[column]
        or expected[column] in ("integer", "bigint")
    ):
        del changes["type"]
    if column.name == "id" or ObjectKey("not null", column.relation, column.name) in expected:
        del changes["generated"], changes["column"]
    return changes


def drift(connection, seed):
    """Make one change, and have it repaired; seeds go through all kinds of change in turn."""
    chance = random.Random(seed)
    major = connection.info.server_version // 10_000
    changes = change(chance, major)
    kind = sorted(changes)[seed % len(changes)]
    statement, what = changes[kind]
    connection.execute(statement)
    found = verify_database(connection)
    assert what in [item.object for item in found.findings if item.verdict == "problem"], (seed, kind, statement)
    run_script(connection, repair_script(found.differences))
    left = [(item.verdict, item.object, str(item.finding)) for item in verify_database(connection).findings]
    assert left == [], (seed, kind, statement)
    if kind == "identity":  # as good as serial, and the next seeds change what is serial
        table = what.removeprefix("column ").removesuffix(".id")
        connection.execute(
            f"ALTER TABLE {table} ALTER id DROP IDENTITY; CREATE SEQUENCE {table}_id_seq AS integer OWNED BY {table}.id;"
            f" ALTER TABLE {table} ALTER id SET DEFAULT nextval('{table}_id_seq'); SELECT setval('{table}_id_seq', 50)"
        )


# The same, written otherwise. {list} is a shuffled list of the check's values.
CHECKS = [
    "CHECK ({column} IN ({list}))",
    "CHECK ({column} = ANY (ARRAY[{list}]))",
    "CHECK ({column}::text = ANY (ARRAY[{list}]::text[]))",
    "CHECK ({arms})",
    "CHECK (({column} IS NULL) OR ({column} IN ({list})))",
    "CHECK (NOT ({column} NOT IN ({list})))",
    "CHECK (NOT {column} <> ALL (ARRAY[{list}]))",
    "CHECK ({column} IN ({list}, {first}))",
    "CHECK (CASE WHEN {column} IN ({list}) THEN true ELSE {column} IS NULL END)",
    "CHECK (coalesce({column}, {first}) IN ({list}))",
    "CHECK ({column} = ANY ('{{{bare}}}'::text[]))",
]
TIMES = ["CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP::timestamp", "LOCALTIMESTAMP", "now()::timestamp", "transaction_timestamp()",
         "CURRENT_TIMESTAMP(6)", "LOCALTIMESTAMP(6)", "(((now())))"]  # fmt: skip


def rewriting(chance):
    """One rewriting that means the same."""
    expected = expected_catalog()
    check, unique, index = (chance.choice(keys(kind)) for kind in ("check", "unique", "index"))
    values = re.findall(r"'[^']*'", expected[check])
    chance.shuffle(values)
    column = "batch_status" if check.relation == "groups" else "role" if check.relation == "users" else "status"
    text = chance.choice(CHECKS).format(
        column=column, list=", ".join(values), first=values[0], bare=",".join(value.strip("'") for value in values),
        arms=" OR ".join(f"{column} = {value}" for value in values),
    )  # fmt: skip
    defaults = [key for key in keys("default") if not expected[key].startswith("nextval")]
    default = chance.choice(defaults)
    plain = re.sub(r"::.*", "", expected[default])
    times = [key for key in defaults if expected[key] == "now()"]
    moment, number = chance.choice(times), chance.choice([key for key in defaults if expected[key] == "0"])
    flag = chance.choice([key for key in defaults if expected[key] in ("true", "false")])
    word = chance.choice([key for key in defaults if "character varying" in expected[key]])
    said = re.sub(r"::.*", "", expected[word])
    column_default = "ALTER TABLE {0.relation} ALTER {0.name} SET DEFAULT {1}"
    body = "BEGIN NEW.updated_at {} {}; -- the moment\n RETURN NEW; END{}"
    body = body.format(
        chance.choice(["=", ":="]), chance.choice([*TIMES[:1], "now()", "NOW()"]), chance.choice(["", ";"])
    )
    return [
        replaced(check, text),
        column_default.format(default, f"({plain})"),
        column_default.format(moment, chance.choice(TIMES)),
        column_default.format(number, chance.choice(["0::integer", "'0'", "0::bigint", "(0)", "0::numeric"])),
        column_default.format(flag, f"'{chance.choice([expected[flag], expected[flag][0]])}'::boolean"),
        column_default.format(word, f"{said}::{chance.choice(['text', 'varchar', 'text::varchar', 'varchar(50)::text'])}"),
        f"ALTER TABLE {unique.relation} DROP CONSTRAINT IF EXISTS {unique.name}; DROP INDEX IF EXISTS {unique.name}; CREATE UNIQUE INDEX {unique.name} ON {unique.relation} {expected[unique].removeprefix('UNIQUE ')}",
        f"DROP INDEX IF EXISTS {index.name}, {index.name}_too; {expected[index].replace(index.name, index.name + '_too')}",
        f"ALTER INDEX IF EXISTS {index.name} SET (fillfactor = {chance.randint(50, 100)})",
        f"ALTER TABLE {moment.relation} ALTER created_at TYPE timestamp(6)" if moment.relation in ("users", "clients") and moment.name == "created_at" else "SELECT 1",
        f"CREATE OR REPLACE FUNCTION {FUNCTION} RETURNS trigger LANGUAGE plpgsql AS $${body}$$",
        "ALTER TABLE groups ALTER id DROP IDENTITY IF EXISTS, ALTER id DROP DEFAULT; DROP SEQUENCE IF EXISTS groups_id_seq; ALTER TABLE groups ALTER id ADD GENERATED BY DEFAULT AS IDENTITY",
        f"ALTER TABLE {moment.relation} ALTER id SET STORAGE plain",
        f"ALTER TABLE {check.relation} ALTER id SET STATISTICS 500; ALTER TABLE {check.relation} SET (autovacuum_vacuum_scale_factor = 0.05)",
        "CREATE OR REPLACE " + create("batch_call_statistics")[18:].replace("campaign", chance.choice("xyz")),
        "ALTER SEQUENCE users_id_seq CACHE 10 RESTART 40",
    ]  # fmt: skip


def same(connection, seed):
    """Write something otherwise, beside what was before: nothing is a problem or a warning."""
    ways = rewriting(random.Random(seed))
    statement = ways[seed % len(ways)]
    connection.execute(statement)
    told = [item for item in verify_database(connection).findings if item.verdict != "note"]
    assert told == [], (seed, statement)


def test_a_random_change_is_found_and_repaired(connection):
    for seed in range(SAMPLE):
        drift(connection, seed * 5 + 1)


def test_a_random_rewriting_is_not_reported(connection):
    for seed in range(2 * SAMPLE):
        same(connection, seed)


@pytest.mark.slow
def test_a_hundred_random_changes_are_found_and_repaired(connection):
    for seed in range(1000, 1000 + WHOLE):
        drift(connection, seed)


@pytest.mark.slow
def test_a_hundred_random_rewritings_are_not_reported(connection):
    for seed in range(2000, 2000 + WHOLE):
        same(connection, seed)
