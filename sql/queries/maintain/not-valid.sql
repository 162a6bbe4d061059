-- The constraints of a table that its rows need not meet: NOT VALID ones.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT conname::text AS name
  FROM pg_constraint
 WHERE conrelid = (:oid)::oid AND NOT convalidated AND contype IN ('c', 'f', 'n')
   AND coalesce((to_jsonb(pg_constraint) ->> 'conenforced')::boolean, true)
 ORDER BY 1
