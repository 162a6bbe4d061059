-- One index by its schema and name, as it is now.
-- param: schema text -- its schema
-- param: name text -- its name
-- bytes: size
-- effect: read-only
SELECT c.oid::bigint AS oid, i.indisvalid AS is_valid, pg_relation_size(c.oid) AS size
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_index AS i ON i.indexrelid = c.oid
 WHERE n.nspname = :schema AND c.relname = :name
