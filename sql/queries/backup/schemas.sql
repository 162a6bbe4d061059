-- The schemas whose names begin in a way.
-- param: prefix text -- how they begin
-- effect: read-only
SELECT nspname::text AS name FROM pg_namespace WHERE starts_with(nspname, :prefix) ORDER BY 1
