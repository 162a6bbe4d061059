-- The narrowest column of a table that COPY can read alone: built-in types before others, no generated column.
-- param: schema text -- its schema
-- param: name text -- the table
-- effect: read-only
SELECT a.attname::text AS name
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  JOIN pg_type AS t ON t.oid = a.atttypid
 WHERE n.nspname = :schema AND c.relname = :name AND has_column_privilege(c.oid, a.attnum, 'SELECT')
 ORDER BY t.typnamespace = 'pg_catalog'::regnamespace DESC, a.attlen < 0, a.attlen, a.attnum
 LIMIT 1
