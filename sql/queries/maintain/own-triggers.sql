-- The enabled triggers of people's own on one table itself, a partition's copies included.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT t.tgname::text AS name, t.tgtype & 4 > 0 AS on_insert, t.tgtype & 16 > 0 AS on_update,
       t.tgenabled = 'A' AS is_always
  FROM pg_trigger AS t
 WHERE t.tgrelid = (:oid)::oid AND t.tgenabled IN ('O', 'A')
   -- Before PostgreSQL 15 a partition's copy is marked as internal.
   AND (NOT t.tgisinternal OR (t.tgparentid <> 0 AND t.tgconstraint = 0))
 ORDER BY t.tgname
