-- A table with what decides how its rows can be deleted.
-- param: schema text -- its schema
-- param: name text -- its name
-- effect: read-only
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       has_table_privilege(c.oid, 'DELETE') AND has_table_privilege(c.oid, 'SELECT') AS may_delete,
       c.relrowsecurity AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')) AS has_row_security
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name
