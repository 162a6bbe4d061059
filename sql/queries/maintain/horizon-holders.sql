-- What keeps VACUUM from removing dead rows of this database: transactions, replication slots, prepared transactions.
-- effect: read-only
SELECT kind, name, application, since, horizon, age
  FROM (
        SELECT 'session' AS kind, a.pid::text AS name,
               coalesce(nullif(a.application_name, ''), a.backend_type) AS application,
               -- Only of sessions whose state this role may see.
               to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') AS since,
               CASE WHEN coalesce(age(a.backend_xid), -1) > coalesce(age(a.backend_xmin), -1)
                    THEN a.backend_xid ELSE a.backend_xmin END::text AS horizon,
               greatest(age(a.backend_xid), age(a.backend_xmin)) AS age
          FROM pg_stat_activity AS a
         WHERE (a.datname = current_database() OR a.backend_type = 'walsender')
           AND a.pid <> pg_backend_pid()
           -- A VACUUM does not hold back another one.
           AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
        UNION ALL
        SELECT 'replication slot', slot_name::text, CASE WHEN active THEN 'in use' ELSE 'not in use' END,
               NULL, xmin::text, age(xmin)
          FROM pg_replication_slots
        UNION ALL
        SELECT 'prepared transaction', gid, owner::text, to_char(prepared, 'YYYY-MM-DD HH24:MI:SS'),
               transaction::text, age(transaction)
          FROM pg_prepared_xacts
         WHERE database = current_database()
       ) AS holders
 WHERE horizon IS NOT NULL
 ORDER BY age DESC, kind, name
