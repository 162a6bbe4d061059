-- Try to be the only `db init` that makes databases of this name; the lock ends with the session.
-- param: prefix text -- how their names begin while they are made
-- effect: write
SELECT pg_try_advisory_lock(hashtextextended('iacalls db init ' || :prefix, 0)) AS locked
