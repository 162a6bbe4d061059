-- Databases of our own that a killed `db init` left unfinished and no session uses.
-- param: mark text -- what stands in their names
-- effect: read-only
SELECT datname::text AS name
  FROM pg_database
 WHERE datname ~ (replace(:mark, '.', '\.') || '[0-9a-f]{8}$')
   AND pg_has_role(datdba, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname)
