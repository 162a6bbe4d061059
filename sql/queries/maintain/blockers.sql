-- The sessions and prepared transactions that some of ours wait for now.
-- param: sessions text -- the pids of ours, as an array
-- effect: read-only
SELECT w.pid, b.pid::text AS holder,
       coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), a.usename::text, '') AS application,
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') AS since,
       false AS is_prepared
  FROM unnest((:sessions)::integer[]) AS w (pid)
  CROSS JOIN unnest(pg_blocking_pids(w.pid)) AS b (pid)
  LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
 -- A prepared transaction belongs to no session: 0 stands for all of them.
 WHERE b.pid <> 0
UNION
SELECT w.pid, x.gid, x.owner::text, to_char(x.prepared, 'YYYY-MM-DD HH24:MI:SS'), true
  FROM pg_locks AS w
  JOIN pg_prepared_xacts AS x
    ON w.transactionid = x.transaction
    OR EXISTS (SELECT FROM pg_locks AS h
                 JOIN pg_locks AS own USING (virtualtransaction)
                WHERE h.pid IS NULL AND own.pid IS NULL AND own.transactionid = x.transaction
                  AND h.database = w.database AND h.relation = w.relation)
 WHERE NOT w.granted
   AND w.pid = ANY ((:sessions)::integer[])
   AND 0 = ANY (pg_blocking_pids(w.pid))
 ORDER BY 1, 4, 2
