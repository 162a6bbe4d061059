-- The foreign keys of a table that are checked with every statement. A partition's are its parent's.
-- param: schema text -- the table's schema
-- param: name text -- the table
-- effect: read-only
WITH RECURSIVE key AS (
    SELECT k.oid, k.conrelid, k.conname, k.conparentid, k.condeferrable
      FROM pg_constraint AS k
      JOIN pg_class AS c ON c.oid = k.conrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE k.contype = 'f' AND n.nspname = :schema AND c.relname = :name
    UNION
    SELECT k.oid, k.conrelid, k.conname, k.conparentid, k.condeferrable
      FROM key JOIN pg_constraint AS k ON k.oid = key.conparentid
)
SELECT n.nspname::text AS schema, c.relname::text AS name, key.conname::text AS key
  FROM key
  JOIN pg_class AS c ON c.oid = key.conrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE key.conparentid = 0 AND NOT key.condeferrable
 ORDER BY 1, 2, 3
