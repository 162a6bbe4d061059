"""Transcripts as varied as speech, in place of the sample data's few phrases, which compress ten to one."""

import json
import random

import psycopg

WORDS = 5000
LETTERS = "aeioulnrstmdpc"


def vary_transcripts(dsn, seed=7):
    """Rewrite every transcript with words drawn by a rule like Zipf's; the table is compact afterwards."""
    source = random.Random(seed)
    vocabulary = ["".join(source.choice(LETTERS) for _ in range(2 + number % 8)) for number in range(WORDS)]

    def speech(words):
        return " ".join(vocabulary[int(WORDS * source.random() ** 3)] for _ in range(words))

    with psycopg.connect(dsn, autocommit=True) as connection:
        found = connection.execute("SELECT obj_description('public.call_records'::regclass)").fetchone()
        if found[0] == "varied":
            return
        connection.execute("CREATE TEMP TABLE varied (id integer PRIMARY KEY, transcript jsonb)")
        ids = [row[0] for row in connection.execute("SELECT id FROM call_records WHERE full_transcript IS NOT NULL")]
        with connection.cursor().copy("COPY varied FROM STDIN") as copy:
            for number in ids:
                messages = [{"role": "agent", "message": speech(30)}, {"role": "user", "message": speech(25)}]
                copy.write_row((number, json.dumps(messages)))
        connection.execute("ANALYZE varied")
        connection.execute(
            "UPDATE call_records AS c SET full_transcript = v.transcript FROM varied AS v WHERE v.id = c.id"
        )
        connection.execute("VACUUM (FULL, ANALYZE) call_records")
        connection.execute("COMMENT ON TABLE call_records IS 'varied'")
