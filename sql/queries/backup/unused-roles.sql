-- Roles of restore tests that have ended: their own session held a lock as long as it lived.
-- param: prefix text -- how their names begin
-- effect: read-only
SELECT rolname::text AS name
  FROM pg_roles
 WHERE starts_with(rolname, :prefix)
   AND substr(rolname, length(:prefix) + 1) ~ '^[0-9a-f]{12}$'
   AND NOT rolsuper
   AND pg_try_advisory_xact_lock(hashtextextended('iacalls ' || rolname, 0))
 ORDER BY 1
