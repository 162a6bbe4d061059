-- Whether row security applies to a table for this role.
-- param: schema text -- its schema
-- param: name text -- the table
-- effect: read-only
SELECT row_security_active(c.oid) AS is_active
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relname = :name
