-- The rows that the sessions of one dump have copied of the tables they are at.
-- param: application text -- the sessions' name
-- effect: read-only
SELECT n.nspname::text AS schema, c.relname::text AS name, p.tuples_processed AS rows
  FROM pg_stat_progress_copy AS p
  JOIN pg_stat_activity AS a ON a.pid = p.pid
  JOIN pg_class AS c ON c.oid = p.relid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE a.application_name = :application
   AND a.datname = current_database()
 ORDER BY 1, 2
