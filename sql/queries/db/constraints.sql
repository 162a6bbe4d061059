-- The keys and checks of a table.
-- param: oid bigint -- the table's oid
-- prose: definition
-- effect: read-only
SELECT conname AS constraint, pg_get_constraintdef(oid, true) AS definition
  FROM pg_constraint
 WHERE conrelid = (:oid)::oid AND contype IN ('p', 'u', 'f', 'c', 'x')
 ORDER BY position(contype::text IN 'pufcx'), conname
