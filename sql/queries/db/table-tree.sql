-- A table with its partitions and the tables that inherit from it: those that hold rows themselves.
-- param: schema text -- its schema
-- param: name text -- the table
-- effect: read-only
WITH RECURSIVE tree(oid) AS (
    SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relname = :name
    UNION
    SELECT i.inhrelid FROM tree JOIN pg_inherits AS i ON i.inhparent = tree.oid
)
SELECT n.nspname::text AS schema, c.relname::text AS name
  FROM tree
  JOIN pg_class AS c ON c.oid = tree.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind <> 'p'
 ORDER BY c.oid
