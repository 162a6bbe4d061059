-- How far the index builds of some sessions are, and which session they wait for.
-- param: sessions text -- their pids, as an array
-- effect: read-only
SELECT pid, phase,
       -- Some phases count blocks, others tuples; one of them is 0.
       CASE WHEN blocks_total > 0 THEN blocks_done ELSE tuples_done END AS done,
       CASE WHEN blocks_total > 0 THEN blocks_total ELSE tuples_total END AS total
  FROM pg_stat_progress_create_index
 WHERE pid = ANY ((:sessions)::integer[])
