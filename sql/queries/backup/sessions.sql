-- The sessions in a database, but for this one.
-- param: name text -- the database
-- effect: read-only
SELECT pid, usename::text AS role, coalesce(nullif(application_name, ''), backend_type) AS application
  FROM pg_stat_activity
 WHERE datname = :name AND pid <> pg_backend_pid()
 ORDER BY pid
