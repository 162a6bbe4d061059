-- The foreign keys of other tables that point at a table.
-- param: oid bigint -- the table's oid
-- prose: definition
-- effect: read-only
SELECT CASE WHEN relnamespace = 'public'::regnamespace THEN relname::text ELSE conrelid::regclass::text END AS table,
       conname AS constraint,
       pg_get_constraintdef(pg_constraint.oid, true) AS definition
  FROM pg_constraint
  JOIN pg_class ON pg_class.oid = conrelid
 WHERE confrelid = (:oid)::oid AND contype = 'f'
 ORDER BY 1, conname
