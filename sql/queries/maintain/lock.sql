-- Be the only session that cleans up this database; the lock ends with the session.
-- effect: write
SELECT pg_try_advisory_lock(hashtextextended('iacalls maintain cleanup', 0)) AS is_ours
