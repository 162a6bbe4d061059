-- Roles of killed restore tests: without a session, and without a database of their own.
-- param: prefix text -- how their names begin
-- effect: read-only
SELECT rolname::text AS name
  FROM pg_roles AS r
 WHERE starts_with(rolname, :prefix)
   AND substr(rolname, length(:prefix) + 1) ~ '^[0-9a-f]{12}$'
   AND NOT rolsuper
   AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = r.oid)
   AND NOT EXISTS (SELECT FROM pg_database WHERE datdba = r.oid)
   -- A living one holds this lock.
   AND pg_try_advisory_xact_lock(hashtextextended('iacalls ' || rolname, 0))
 ORDER BY 1
