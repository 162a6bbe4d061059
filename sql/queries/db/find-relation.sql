-- One table or view by its name, exact first, then as SQL would read it.
-- param: name text -- the name as it was typed
-- effect: read-only
SELECT c.oid::bigint AS oid,
       c.relname AS name,
       n.nspname AS schema,
       CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS kind,
       CASE WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid) END AS size,
       obj_description(c.oid, 'pg_class') AS comment,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid, true) END AS definition
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND (n.nspname = 'public' AND c.relname = :name
        OR n.nspname || '.' || c.relname IN (:name, lower(:name))
        OR n.nspname = 'public' AND c.relname = lower(:name))
 ORDER BY c.relname = :name OR n.nspname || '.' || c.relname = :name DESC
 LIMIT 1
