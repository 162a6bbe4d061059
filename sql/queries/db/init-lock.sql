-- Try to be the only `db init` in this database; the lock ends with the transaction.
-- effect: write
SELECT pg_try_advisory_xact_lock(hashtextextended('iacalls db init', 0)) AS locked
