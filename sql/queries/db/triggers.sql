-- The triggers of a table.
-- param: oid bigint -- the table's oid
-- prose: definition
-- effect: read-only
SELECT tgname AS trigger,
       CASE tgenabled WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' WHEN 'A' THEN 'always' ELSE 'enabled' END AS state,
       regexp_replace(pg_get_triggerdef(oid, true), '^CREATE (CONSTRAINT )?TRIGGER \S+ ', '') AS definition
  FROM pg_trigger
 WHERE tgrelid = (:oid)::oid AND NOT tgisinternal
 ORDER BY tgname
