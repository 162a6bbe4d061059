-- The sessions whose locks on a relation or its indexes keep a maintenance command waiting.
-- param: relation bigint -- the table's oid
-- param: is_exclusive boolean -- whether the command wants the relation for itself alone
-- effect: read-only
SELECT DISTINCT l.pid, coalesce(a.usename::text, '') AS role,
       coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), '') AS application,
       -- Only of sessions whose state this role may see.
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') AS since
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'relation'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.relation = (:relation)::oid OR l.relation IN (SELECT indexrelid FROM pg_index WHERE indrelid = (:relation)::oid))
   AND l.granted
   AND l.pid <> pg_backend_pid()
   AND (:is_exclusive OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
 ORDER BY since, l.pid
