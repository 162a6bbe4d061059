-- How far the VACUUMs of some sessions are.
-- param: sessions text -- their pids, as an array
-- effect: read-only
SELECT pid, phase, heap_blks_scanned AS done, heap_blks_total AS total
  FROM pg_stat_progress_vacuum
 WHERE pid = ANY ((:sessions)::integer[])
UNION ALL
SELECT pid, phase, heap_blks_scanned, heap_blks_total
  FROM pg_stat_progress_cluster
 WHERE pid = ANY ((:sessions)::integer[])
