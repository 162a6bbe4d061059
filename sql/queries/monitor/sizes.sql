-- Tables and materialized views of schema public by size, with their rows and their share of all.
-- es: Tablas y vistas materializadas del esquema public por tamaño, con sus filas y su parte del total.
-- bytes: size, heap, indexes
-- effect: read-only
WITH RECURSIVE stored AS (
    SELECT c.oid, c.relname, c.relkind,
           pg_total_relation_size(c.oid) AS size,
           pg_relation_size(c.oid) AS heap,
           pg_indexes_size(c.oid) AS indexes,
           CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS estimated_rows
      FROM pg_class AS c
     WHERE c.relnamespace = 'public'::regnamespace
       AND c.relkind IN ('r', 'p', 'm')
), below AS (
    -- The partitions of each partitioned table, on every level; those in other schemas as well.
    SELECT oid AS root, oid AS part FROM stored WHERE relkind = 'p'
    UNION ALL
    SELECT b.root, i.inhrelid FROM below AS b JOIN pg_inherits AS i ON i.inhparent = b.part
), summed AS (
    SELECT b.root, sum(pg_total_relation_size(b.part)) AS size, sum(pg_relation_size(b.part)) AS heap,
           sum(pg_indexes_size(b.part)) AS indexes,
           sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END) AS estimated_rows
      FROM below AS b
      JOIN pg_class AS c ON c.oid = b.part AND c.relkind <> 'p'
     GROUP BY b.root
)
SELECT s.relname AS tablename,
       coalesce(p.size, s.size)::bigint AS size,
       coalesce(p.heap, s.heap)::bigint AS heap,
       coalesce(p.indexes, s.indexes)::bigint AS indexes,
       coalesce(p.estimated_rows, s.estimated_rows)::bigint AS estimated_rows,
       -- Of what is stored: a partitioned table's is the sum of its partitions, which have rows of their own here.
       round(100.0 * coalesce(p.size, s.size) / nullif(sum(s.size) OVER (), 0), 1) AS share_percent,
       CASE s.relkind WHEN 'm' THEN 'materialized view' WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS kind
  FROM stored AS s
  LEFT JOIN summed AS p ON p.root = s.oid
 ORDER BY 2 DESC, s.relname
