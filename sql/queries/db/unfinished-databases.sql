-- Databases of our own that a killed command left unfinished, and no session uses but what is left of that command's.
-- param: prefix text -- how their names begin
-- effect: read-only
SELECT datname::text AS name
  FROM pg_database
 WHERE starts_with(datname, :prefix)
   AND substr(datname, length(:prefix) + 1) ~ '^[0-9a-f]{8}$'
   AND pg_has_role(datdba, 'USAGE')
   AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE pg_stat_activity.datname = pg_database.datname
                      AND backend_type = 'client backend' AND application_name NOT LIKE 'iacalls/%')
