-- Wait to be the only one that loads sample data here; the lock ends with the transaction.
-- effect: write
SELECT pg_advisory_xact_lock(hashtextextended('iacalls sample', 0)) AS locked
