-- The sessions and prepared transactions whose locks on a relation or its indexes keep a maintenance command waiting.
-- param: relation bigint -- the table's oid
-- param: is_exclusive boolean -- whether the command wants the relation for itself alone
-- effect: read-only
SELECT DISTINCT coalesce(x.gid, l.pid::text) AS holder, coalesce(x.owner::text, a.usename::text, '') AS role,
       coalesce(x.owner::text, nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), '') AS application,
       -- Only of sessions whose state this role may see.
       to_char(coalesce(x.prepared, a.xact_start), 'YYYY-MM-DD HH24:MI:SS') AS since,
       x.gid IS NOT NULL AS is_prepared
  FROM pg_locks AS l
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  -- A prepared transaction belongs to no session, and holds a lock on its own number.
  LEFT JOIN pg_locks AS own
    ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
   AND own.virtualtransaction = l.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS x ON x.transaction = own.transactionid
 WHERE l.locktype = 'relation'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.relation = (:relation)::oid OR l.relation IN (SELECT indexrelid FROM pg_index WHERE indrelid = (:relation)::oid))
   AND l.granted
   AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND (l.pid IS NOT NULL OR x.gid IS NOT NULL)
   AND (:is_exclusive OR l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))
 ORDER BY since, holder
