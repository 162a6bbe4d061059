-- The sessions and prepared transactions that keep others from tables: they hold locks on them or on their indexes, or wait for such.
-- param: modes text -- the modes of lock that conflict with what others want, as an array
-- param: relations text = null -- the oids of the tables, as an array; all tables that users made unless given
-- effect: read-only
SELECT n.nspname::text AS schema, c.relname::text AS relation,
       coalesce(x.gid, l.pid::text) AS holder,
       coalesce(x.owner::text, nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), a.usename::text, '')
         AS application,
       -- Only of sessions whose state this role may see.
       to_char(coalesce(x.prepared, a.xact_start), 'YYYY-MM-DD HH24:MI:SS') AS since,
       x.gid IS NOT NULL AS is_prepared
  FROM pg_locks AS l
  LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
  JOIN pg_class AS c ON c.oid = coalesce(i.indrelid, l.relation)
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
  -- A prepared transaction belongs to no session, and holds a lock on its own number.
  LEFT JOIN pg_locks AS own
    ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
   AND own.virtualtransaction = l.virtualtransaction
  LEFT JOIN pg_prepared_xacts AS x ON x.transaction = own.transactionid
 WHERE l.locktype = 'relation'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND CASE WHEN :relations IS NULL
            THEN c.relkind IN ('r', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            ELSE c.oid = ANY ((:relations)::oid[]) END
   AND l.mode = ANY ((:modes)::text[])
   AND l.pid IS DISTINCT FROM pg_backend_pid()
   AND (l.pid IS NOT NULL OR x.gid IS NOT NULL)
 GROUP BY 1, 2, 3, 4, 5, 6
 -- One that waits keeps others waiting behind it.
 ORDER BY 1, 2, bool_or(l.granted) DESC, since, holder
