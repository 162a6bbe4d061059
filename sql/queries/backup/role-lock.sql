-- Hold what shows that a restore test's role is in use, as long as the session lasts.
-- param: role text -- the role
-- effect: write
SELECT pg_advisory_lock(hashtextextended('iacalls ' || :role, 0))::text AS locked
