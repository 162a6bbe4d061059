-- The indexes of a table.
-- param: oid bigint -- the table's oid
-- bytes: size
-- prose: definition
-- effect: read-only
SELECT c.relname AS index,
       regexp_replace(pg_get_indexdef(indexrelid), '^CREATE (UNIQUE )?INDEX .* USING ', '\1') AS definition,
       pg_relation_size(indexrelid) AS size,
       indisvalid AND indisready AS valid
  FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid
 WHERE indrelid = (:oid)::oid
 ORDER BY indisprimary DESC, c.relname
