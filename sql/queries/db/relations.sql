-- Tables and views of schema public with their size and the planner's row estimate.
-- effect: read-only
WITH locked AS (
    -- Whose sizes and rows cannot be read now: that takes a lock, and would wait behind these. Of partitions the root.
    SELECT coalesce(pg_partition_root(coalesce(i.indrelid, l.relation)), i.indrelid, l.relation)::oid AS relation
      FROM pg_locks AS l
      LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT c.relname AS name,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS kind,
       CASE WHEN c.relkind IN ('r', 'm', 'p') THEN
           CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END
       END AS estimated_rows,
       -- Neither a materialized view without data nor, on a replica, an unlogged table can be read.
       c.relkind IN ('r', 'm', 'p') AND has_table_privilege(c.oid, 'SELECT') AND c.relispopulated
       AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
       AND NOT EXISTS (SELECT FROM locked WHERE relation = c.oid) AS is_countable,
       EXISTS (SELECT FROM locked WHERE relation = c.oid) AS is_locked,
       CASE WHEN EXISTS (SELECT FROM locked WHERE relation = c.oid) THEN NULL
            WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid)
            WHEN c.relkind = 'p' THEN (SELECT sum(pg_total_relation_size(relid))::bigint
                                         FROM pg_partition_tree(c.oid) WHERE isleaf)
       END AS size,
       obj_description(c.oid, 'pg_class') AS comment
  FROM pg_class AS c
 WHERE c.relnamespace = 'public'::regnamespace
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND NOT c.relispartition
   AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')
 ORDER BY c.relkind IN ('v', 'm'), c.relname
