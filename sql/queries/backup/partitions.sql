-- A table and, where it is partitioned, its partitions: what acts on a row that is inserted into it.
-- param: schema text -- its schema
-- param: name text -- the table
-- effect: read-only
WITH RECURSIVE tree AS (
    SELECT c.oid, c.relkind FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relname = :name
    UNION
    SELECT c.oid, c.relkind
      FROM tree
      JOIN pg_inherits AS i ON i.inhparent = tree.oid AND tree.relkind = 'p'
      JOIN pg_class AS c ON c.oid = i.inhrelid
)
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind = 'p' AS is_partitioned
  FROM tree
  JOIN pg_class AS c ON c.oid = tree.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 ORDER BY c.oid
