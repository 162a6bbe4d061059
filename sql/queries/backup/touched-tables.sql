-- Tables whose updated_at is set by an enabled trigger before each update.
-- effect: read-only
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name
  FROM pg_trigger AS t
  JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relkind = 'r'
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'updated_at' AND NOT a.attisdropped
                        AND a.atttypid IN ('timestamp'::regtype, 'timestamptz'::regtype)
  JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.prosrc ~* 'new\.updated_at'
 WHERE NOT t.tgisinternal
   AND t.tgenabled <> 'D'
   -- BEFORE, for each row, on UPDATE: bits 2, 1 and 16 of tgtype.
   AND t.tgtype & 19 = 19
 ORDER BY 1, 2
