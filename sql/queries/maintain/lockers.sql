-- The sessions that hold a lock on a table which keeps writers from it, or wait for one, which does so too.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT l.pid, coalesce(nullif(a.application_name, ''), a.usename::text, '') AS application, l.mode
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.relation = (:oid)::oid AND l.pid <> pg_backend_pid()
   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
 ORDER BY l.granted DESC, l.pid
