-- Tables by size, with their rows and their share of all.
-- es: Tablas por tamaño, con sus filas y su parte del total.
-- bytes: size, heap, indexes
-- effect: read-only
SELECT tablename,
       pg_total_relation_size(c.oid) AS size,
       pg_relation_size(c.oid) AS heap,
       pg_indexes_size(c.oid) AS indexes,
       CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS estimated_rows,
       round(100.0 * pg_total_relation_size(c.oid) / nullif(sum(pg_total_relation_size(c.oid)) OVER (), 0), 1)
           AS share_percent
  FROM pg_tables
  JOIN pg_class AS c ON c.relname = tablename AND c.relnamespace = 'public'::regnamespace
 WHERE schemaname = 'public'
 ORDER BY 2 DESC, tablename
