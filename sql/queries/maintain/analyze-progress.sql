-- How far the ANALYZEs of some sessions are.
-- param: sessions text -- their pids, as an array
-- effect: read-only
SELECT pid, phase, sample_blks_scanned AS done, sample_blks_total AS total
  FROM pg_stat_progress_analyze
 WHERE pid = ANY ((:sessions)::integer[])
