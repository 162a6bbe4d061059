-- Indexes with size, use and definition.
-- es: Índices con tamaño, uso y definición.
-- param: table text = null -- only the indexes of this table
-- bytes: size
-- prose: indexdef
-- effect: read-only
SELECT i.tablename,
       i.indexname,
       pg_relation_size(c.oid) AS size,
       s.idx_scan AS scans,
       i.indexdef
  FROM pg_indexes AS i
  JOIN pg_class AS c ON c.relname = i.indexname AND c.relnamespace = 'public'::regnamespace
  LEFT JOIN pg_stat_user_indexes AS s ON s.indexrelid = c.oid
 WHERE i.schemaname = 'public'
   AND (:table IS NULL OR i.tablename = :table)
 ORDER BY i.tablename, i.indexname
