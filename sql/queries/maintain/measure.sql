-- What one relation takes on the disk, and its rows as the server's statistics count them.
-- param: relation bigint -- its oid
-- bytes: size, heap, indexes
-- effect: read-only
SELECT pg_total_relation_size(c.oid) AS size,
       pg_relation_size(c.oid) AS heap,
       pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages,
       pg_indexes_size(c.oid) AS indexes,
       coalesce(s.n_live_tup, 0) AS live_rows,
       coalesce(s.n_dead_tup, 0) AS dead_rows
  FROM pg_class AS c
  LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
 WHERE c.oid = (:relation)::oid
