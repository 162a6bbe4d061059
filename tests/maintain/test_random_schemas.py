"""After a cleanup every row is where it was or, exactly, in the archive; after its undo everything is as it was."""

import copy
from collections import Counter, defaultdict

import pytest

from tests.support.cleanups import archived, by_name, everything
from tests.support.random_schema import config_of, expect, keep_one_another, random_schema
from tests.support.servers import OWNER

# As the README of the database documents them.
DOCUMENTED = (
    "DELETE FROM whatsapp_conversations WHERE created_at < NOW() - INTERVAL '30 days'",
    "DELETE FROM call_records WHERE status = 'failed' AND created_at < NOW() - INTERVAL '60 days'",
)
AGES = """
UPDATE whatsapp_conversations SET created_at = now() - (id % 60) * interval '1 day' - interval '1 hour' WHERE id % 13 > 0;
UPDATE whatsapp_conversations SET created_at = NULL WHERE id % 13 = 1;
UPDATE whatsapp_conversations SET created_at = '-infinity' WHERE id % 13 = 2;
UPDATE call_records SET created_at = now() - (id % 120) * interval '1 day' - interval '1 hour', status = CASE WHEN id % 3 = 0 THEN status ELSE 'failed' END;
"""
PROTECTED = """SELECT c::text FROM call_records AS c JOIN batch_calls AS b ON b.id = c.batch_call_id
                WHERE b.status IN ('pending', 'in_progress') OR b.status IS NULL"""


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "archivos")


def counts_of_plan(plan):
    rules = {row["rule"]: [row["rows"], Counter(), Counter(), row["kept"]] for row in plan["data"]}
    for effect in plan["effects"]:
        if effect["action"] == "delete":
            rules[effect["rule"]][1][effect["table"]] += effect["rows"]
        else:
            rules[effect["rule"]][2][effect["foreign_key"]] += effect["rows"]
    return rules


def state(connection, tables):
    """For each row by its uid, its table's name and its values as text."""
    found = {}
    for table in tables:
        columns = [
            c.name for c in connection.execute(f"SELECT * FROM {table.identifier.as_string()} LIMIT 0").description
        ]
        # By the output function, as COPY does: a cast to text changes char(4) and inet.
        texts = ", ".join(
            f"""CASE WHEN t."{name}" IS DISTINCT FROM NULL THEN format('%s', t."{name}") END""" for name in columns
        )
        for row in connection.execute(f"SELECT {texts} FROM {table.identifier.as_string()} AS t"):
            values = dict(zip(columns, row, strict=True))
            found[int(values["uid"])] = table.name, values
    return found


def check_cleanup(seed, server, database, use, iacalls, configure, folder):
    use(database)
    with server.connect(database) as superuser:
        tables, rules = random_schema(seed, superuser)
        for table in tables:
            superuser.execute(f"ALTER TABLE {table.identifier.as_string()} OWNER TO {OWNER}")
        for (name,) in superuser.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            superuser.execute(f"ALTER TABLE {name} OWNER TO {OWNER}")
        superuser.execute("SET TimeZone = 'UTC'")
        before, all_before = state(superuser, tables), everything(superuser)
        refused = [rule for rule in rules if keep_one_another(tables, rule)]
        if refused:
            configure(config_of(refused))
            only = [part for rule in refused for part in ("--only", rule.name)]
            outcome = iacalls("maintain", "cleanup", "--directory", folder, "-o", "json", *only)
            assert outcome.code == 1
            assert "which the foreign key" in outcome.error
            assert everything(superuser) == all_before
            rules = [rule for rule in rules if rule not in refused]
        if not rules:
            return
        model = copy.deepcopy((tables, rules))
        expected = {rule.name: expect(model[0], rule) for rule in model[1]}
        configure(config_of(rules))
        only = [part for rule in rules for part in ("--only", rule.name)]
        cleanup = ["maintain", "cleanup", "--directory", folder, "-o", "json", *only]
        planned = iacalls(*cleanup, "--dry-run")
        assert planned.code == 0, planned.err
        assert everything(superuser) == all_before
        wanted = {name: [len(e.deleted), e.cascaded, e.changed, e.kept] for name, e in expected.items()}
        assert counts_of_plan(planned.json) == wanted
        done = iacalls(*cleanup)
        assert done.code == 0, done.err
        for rule in rules:
            row, e = by_name(done.json["data"])[rule.name], expected[rule.name]
            assert (row["deleted"], row["cascaded"]) == (len(e.deleted), e.cascaded.total())
            # A row of another partition may lose its reference before it goes itself.
            changed = e.changed.total()
            assert row["nulled"] >= changed if rule.table.partitions else row["nulled"] == changed
        after = state(superuser, tables)
        there = {row.uid for table in model[0] for row in table.rows}
        assert set(after) == there
        lost = check_rows(before, after, model[0])
        if done.json["run"]["archive"] is None:
            assert after == before
            return
        check_archive(before, there, lost, done.json["run"]["archive"])
        undone = iacalls("maintain", "undo", "newest", "--directory", folder)
        assert undone.code == 0, undone.err + undone.out
        assert everything(superuser) == all_before
        again = iacalls("maintain", "undo", "newest", "--directory", folder)
        assert again.code == 0, again.err + again.out
        assert everything(superuser) == all_before


def check_rows(before, after, tables):
    """Rows that stay are as they were, but for the references the model says; returns the rows that lost one."""
    rows = {row.uid: row for table in tables for row in table.rows}
    lost = set()
    for uid, (_, values) in after.items():
        row, old = rows[uid], dict(before[uid][1])
        for key in row.table.keys:
            parent = row.refs.get(key.name)
            new = {c: None if parent is None else str(parent.number) for c in key.columns}
            if any(old[column] != value for column, value in new.items()):
                lost.add(uid)
                old |= new
        if uid in lost and row.table.has_trigger:
            assert values["updated_at"] > old["updated_at"]
            old["updated_at"] = values["updated_at"]
        assert values == old
    return lost


def check_archive(before, there, lost, archive):
    """Every row that is gone is in the archive once, as it was when it went; so are those that lost a reference."""
    found = defaultdict(list)
    for rows in archived(archive).values():
        for row in rows:
            found[int(row["uid"])].append(row)
    assert set(found) == set(before) - there
    changed = defaultdict(list)
    for rows in archived(archive, "changed").values():
        for row in rows:
            changed[int(row["uid"])].append(row)
    assert lost <= set(changed)
    for uid, rows in found.items():
        # One that lost a reference to another rule's rows before is there as it was first, too.
        assert len(rows) == 1
        assert (changed[uid] or rows)[0] == before[uid][1]
    for uid in lost:
        assert changed[uid][0] == before[uid][1]


def test_the_result_is_that_of_the_documented_deletes(server, filled_database, use, iacalls, folder):
    """Row for row, but for the calls of batches that still run."""
    with server.connect(filled_database, OWNER) as owner:
        owner.execute("SET TimeZone = 'UTC'")
        owner.execute(AGES)
        protected = {row for (row,) in owner.execute(PROTECTED)}
    other = server.create_database(template=filled_database)
    try:
        with server.connect(other, OWNER) as owner:
            owner.execute("SET TimeZone = 'UTC'")
            counts = [owner.execute(statement).rowcount for statement in DOCUMENTED]
            documented = everything(owner)
        use(filled_database)
        assert iacalls("maintain", "cleanup", "--days", "30", "--directory", folder).code == 0
        with server.connect(filled_database, OWNER) as owner:
            owner.execute("SET TimeZone = 'UTC'")
            ours = everything(owner)
    finally:
        server.drop_database(other)
    assert min(counts) > 10
    calls = "public", "call_records"
    more = set(ours.pop(calls)) - (left := set(documented.pop(calls)))
    assert more
    assert more <= protected
    assert ours == documented
    assert left


@pytest.mark.parametrize("seed", range(15))
def test_random_schemas(seed, server, empty_database, use, iacalls, configure, folder):
    check_cleanup(seed, server, empty_database, use, iacalls, configure, folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1200))
def test_many_random_schemas(seed, server, empty_database, use, iacalls, configure, folder):
    check_cleanup(seed, server, empty_database, use, iacalls, configure, folder)
