-- Tables whose updated_at is set by an enabled trigger before each update.
-- effect: read-only
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name
  FROM pg_trigger AS t
  JOIN pg_class AS c ON c.oid = t.tgrelid AND c.relkind = 'r'
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'updated_at' AND NOT a.attisdropped
                        AND a.atttypid IN ('timestamp'::regtype, 'timestamptz'::regtype) AND a.attgenerated = ''
  JOIN pg_proc AS p ON p.oid = t.tgfoid
 WHERE NOT t.tgisinternal
   AND t.tgenabled IN ('O', 'A')
   -- BEFORE, for each row, on UPDATE: bits 2, 1 and 16 of tgtype. Not of some columns only.
   AND t.tgtype & 19 = 19
   AND t.tgattr = ''::int2vector
   -- By what the function does, what it is told to do, or what it or the trigger is called:
   -- one of that name which does nothing is to be found.
   AND (p.prosrc ~* 'new\.updated_at\s*:?='
        OR encode(t.tgargs, 'escape') = 'updated_at\000'
        OR p.proname ~* '(set|touch|update)\w*_updated_at'
        OR t.tgname ~* '(set|touch|update)\w*_updated_at')
 ORDER BY 1, 2
