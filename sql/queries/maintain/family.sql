-- The tables that hold rows, each with the tables it is a partition or a child of.
-- effect: read-only
WITH RECURSIVE line(oid, above) AS (
    SELECT c.oid, c.oid
      FROM pg_class AS c
     WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
    UNION
    SELECT l.oid, i.inhparent FROM line AS l JOIN pg_inherits AS i ON i.inhrelid = l.above
)
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       format('%I.%I', n.nspname, c.relname) AS quoted,
       c.relkind = 'r' AND a.amname IS NOT DISTINCT FROM 'heap' AS has_tids,
       array_agg(l.above::bigint) AS line
  FROM line AS l
  JOIN pg_class AS c ON c.oid = l.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN pg_am AS a ON a.oid = c.relam
 WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
 GROUP BY c.oid, n.nspname, c.relname, c.relkind, a.amname
 ORDER BY n.nspname, c.relname
