-- Indexes of schema public with size, use, validity and definition.
-- es: Índices del esquema public con tamaño, uso, validez y definición.
-- param: table text = null -- only the indexes of this table
-- bytes: size
-- prose: indexdef
-- effect: read-only
SELECT i.tablename,
       i.indexname,
       pg_relation_size(c.oid) AS size,
       s.idx_scan AS scans,
       x.indisvalid AS is_valid,
       i.indexdef
  FROM pg_indexes AS i
  JOIN pg_class AS c ON c.relname = i.indexname AND c.relnamespace = 'public'::regnamespace
  JOIN pg_index AS x ON x.indexrelid = c.oid
  LEFT JOIN pg_stat_user_indexes AS s ON s.indexrelid = c.oid
 WHERE i.schemaname = 'public'
   AND (:table IS NULL OR i.tablename = :table)
 ORDER BY i.tablename, i.indexname
