-- A table or materialized view by schema and name, and whether this role may maintain it.
-- param: schema text -- its schema
-- param: name text -- its name
-- effect: read-only
SELECT c.oid::bigint AS oid,
       (pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE')
       -- The right and its name came with PostgreSQL 17.
       OR CASE WHEN current_setting('server_version_num')::integer >= 170000
               THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END)
       AND has_schema_privilege(n.oid, 'USAGE') AS is_allowed
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_database AS d ON d.datname = current_database()
 WHERE n.nspname = :schema AND c.relname = :name AND c.relkind IN ('r', 'm', 'p')
