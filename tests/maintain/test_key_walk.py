"""Tables whose rows have no stable place are gone through by their primary key, with the operators of its index."""

import pytest

from iacalls_cli.operations.maintain.cleanup import ranges
from tests.support.cleanups import rows_of
from tests.support.servers import OWNER

RULE = """[maintain.rules.r]
table = "w"
age_column = "created_at"
age = "30d"
"""
KEYS = {
    "a number": ("id int PRIMARY KEY", "g"),
    "a text": ('id text COLLATE "C" PRIMARY KEY', "'it''s ' || g || '\\'"),
    "two numbers": ("id int, other bigint, PRIMARY KEY (id, other)", "g % 7, g"),
    "a type of an extension": ("id public.citext PRIMARY KEY", "CASE WHEN g % 2 = 0 THEN 'a' ELSE 'B' END || g"),
    "types of two schemas": ("id public.citext, other int, PRIMARY KEY (id, other)", "CASE WHEN g % 2 = 0 THEN 'a' ELSE 'B' END, g"),
    "two schemas the other way": ("other int, id public.citext, PRIMARY KEY (other, id)", "g % 5, 'x' || g"),
    "a uuid and a date": ("id uuid, day date, PRIMARY KEY (id, day)", "md5((g % 9)::text)::uuid, date '2020-01-01' + g"),
}  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_every_kind_of_key(server, database, use, cleanup, undo, configure, monkeypatch, key):
    columns, values = KEYS[key]
    monkeypatch.setattr(ranges, "FIRST_KEYS", 10)
    monkeypatch.setattr(ranges.BatchSize, "took", lambda self, seconds, share=1.0: None)
    with server.connect(database) as superuser:
        superuser.execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public")
        superuser.execute("CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler")
        superuser.execute(
            f"CREATE TABLE w ({columns}, created_at timestamp) USING other_heap; ALTER TABLE w OWNER TO {OWNER}"
        )
        superuser.execute(
            f"INSERT INTO w SELECT {values}, CASE WHEN g % 10 > 0 THEN timestamp '2020-01-01' ELSE now() END"
            " FROM generate_series(1, 200) AS g"
        )
        before = rows_of(superuser, "w")
        use(database)
        configure(RULE)
        done = cleanup("--only", "r")
        assert done.code == 0, done.err
        (row,) = done.json["data"]
        assert (row["deleted"], row["complete"]) == (180, True)
        assert row["transactions"] >= 15  # each once, and not all in a second pass
        assert row["transactions"] <= 22
        assert len(rows_of(superuser, "w")) == 20
        back = undo("newest")
        assert back.code == 0, back.err
        assert rows_of(superuser, "w") == before
