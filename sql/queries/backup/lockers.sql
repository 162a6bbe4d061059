-- The tables that another session keeps everybody from, and the sessions that do.
-- effect: read-only
SELECT CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname || '.' END || c.relname AS relation,
       concat_ws(', ', 'session ' || l.pid, nullif(a.application_name, '')) AS session
  FROM pg_locks AS l
  JOIN pg_class AS c ON c.oid = l.relation
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.mode = 'AccessExclusiveLock'
   AND l.granted
   AND l.pid <> pg_backend_pid()
   AND c.relkind IN ('r', 'p', 'S')
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
 ORDER BY 1, 2
