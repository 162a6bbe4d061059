-- The foreign keys of a table that are checked with every statement. A partition's are its parent's.
-- param: schema text -- the table's schema
-- param: name text -- the table
-- effect: read-only
SELECT conname::text AS key
  FROM pg_constraint
  JOIN pg_class AS c ON c.oid = conrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE contype = 'f' AND NOT condeferrable AND conparentid = 0
   AND n.nspname = :schema AND c.relname = :name
 ORDER BY 1
