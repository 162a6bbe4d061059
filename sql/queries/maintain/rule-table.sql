-- A table by schema and name, if its rows may be cleaned up at all: none of PostgreSQL's own.
-- param: schema text -- its schema
-- param: name text -- its name
-- effect: read-only
SELECT c.oid::bigint AS oid, c.relkind::text AS kind
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
