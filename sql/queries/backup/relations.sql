-- The relations pg_dump reads or locks, and what the role lacks for that.
-- effect: read-only
SELECT n.nspname::text AS schema,
       c.relname::text AS name,
       CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'p' THEN 'partitioned table' ELSE 'table' END AS kind,
       CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END AS bytes,
       -- Its rows are in the dump: all of them, and not one of a sequence or an extension's selection.
       c.relkind = 'r' AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
       AND NOT coalesce(e.condition <> '', false) AS has_rows,
       CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'USAGE on schema ' || quote_ident(n.nspname)
            WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'SELECT'
            WHEN row_security_active(c.oid) THEN 'BYPASSRLS'
       END AS lacking
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN (SELECT d.objid, d.refobjid AS extension FROM pg_depend AS d
              WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e') AS m ON m.objid = c.oid
  LEFT JOIN (SELECT x.oid, u.config, u.condition
               FROM pg_extension AS x, unnest(x.extconfig, x.extcondition) AS u (config, condition)) AS e
    ON e.oid = m.extension AND e.config = c.oid
 WHERE c.relkind IN ('r', 'p', 'S')
   AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
   AND (m.objid IS NULL OR e.config IS NOT NULL)
 ORDER BY n.nspname, c.relname
