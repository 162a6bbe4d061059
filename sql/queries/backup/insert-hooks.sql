-- What acts on rows that are inserted into a table: its own enabled triggers and rules, and how to disable each.
-- param: schema text -- the table's schema
-- param: name text -- the table
-- effect: read-only
WITH wanted AS (
    SELECT c.oid
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = :schema AND c.relname = :name
)
SELECT 'TRIGGER' AS kind, t.tgname::text AS name, t.tgenabled::text AS state
  FROM wanted JOIN pg_trigger AS t ON t.tgrelid = wanted.oid
 WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
   -- INSERT is bit 4 of tgtype.
   AND t.tgtype & 4 = 4
UNION ALL
SELECT 'RULE', r.rulename::text, r.ev_enabled::text
  FROM wanted JOIN pg_rewrite AS r ON r.ev_class = wanted.oid
 WHERE r.ev_type = '3' AND r.ev_enabled <> 'D'
 ORDER BY 1, 2
