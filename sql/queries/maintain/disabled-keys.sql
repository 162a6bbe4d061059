-- Triggers of foreign keys that do not fire, on both tables of each key and on their partitions.
-- param: keys text -- the oids of the foreign keys, as an array
-- effect: read-only
WITH RECURSIVE tree(root, oid) AS (
    SELECT k, k FROM unnest((:keys)::oid[]) AS k
    UNION
    SELECT t.root, c.oid FROM tree AS t JOIN pg_constraint AS c ON c.conparentid = t.oid
)
SELECT k.conname::text AS name, n.nspname::text AS schema, c.relname::text AS table,
       format('%I.%I', n.nspname, c.relname) AS quoted,
       -- The triggers on the referencing table check what is written there.
       bool_or(t.tgtype & 4 > 0) AS is_check
  FROM tree
  JOIN pg_trigger AS t ON t.tgconstraint = tree.oid AND t.tgisinternal AND t.tgenabled NOT IN ('O', 'A')
  JOIN pg_constraint AS k ON k.oid = tree.root
  JOIN pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 GROUP BY k.conname, n.nspname, c.relname
 ORDER BY k.conname, n.nspname, c.relname
