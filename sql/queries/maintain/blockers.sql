-- The sessions that some of ours wait for now.
-- param: sessions text -- the pids of ours, as an array
-- effect: read-only
SELECT w.pid, b.pid AS blocker, coalesce(a.usename::text, '') AS role,
       coalesce(nullif(a.application_name, ''), nullif(a.backend_type, 'client backend'), '') AS application,
       to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS') AS since
  FROM unnest((:sessions)::integer[]) AS w (pid)
  CROSS JOIN unnest(pg_blocking_pids(w.pid)) AS b (pid)
  LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
 ORDER BY w.pid, since, b.pid
