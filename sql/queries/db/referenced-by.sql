-- The foreign keys of other tables that point at a table.
-- param: oid bigint -- the table's oid
-- prose: definition
-- effect: read-only
SELECT conrelid::regclass::text AS table, conname AS constraint, pg_get_constraintdef(oid, true) AS definition
  FROM pg_constraint
 WHERE confrelid = (:oid)::oid AND contype = 'f'
 ORDER BY conrelid::regclass::text, conname
