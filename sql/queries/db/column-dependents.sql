-- What PostgreSQL refuses to change or drop a column or a view under: views, rules, policies, triggers, generated columns.
-- param: name text -- a table or view of schema public
-- param: column text = null -- one column; all of them where it is null
-- effect: read-only
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS relation, dependent.kind
  FROM (SELECT r.ev_class AS oid, CASE k.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'rule on' END AS kind,
               d.refobjid, d.refobjsubid
          FROM pg_depend AS d
          JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
          JOIN pg_class AS k ON k.oid = r.ev_class
         UNION ALL
        SELECT p.polrelid, 'policy of', d.refobjid, d.refobjsubid
          FROM pg_depend AS d JOIN pg_policy AS p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
         UNION ALL
        SELECT t.tgrelid, 'trigger on', d.refobjid, d.refobjsubid
          FROM pg_depend AS d JOIN pg_trigger AS t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid
         UNION ALL
        SELECT f.adrelid, 'generated column of', d.refobjid, d.refobjsubid
          FROM pg_depend AS d JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
         WHERE f.adnum <> d.refobjsubid) AS dependent
  JOIN pg_class AS c ON c.oid = dependent.oid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_class AS target ON target.oid = dependent.refobjid AND target.relname = :name
                         AND target.relnamespace = 'public'::regnamespace
  LEFT JOIN pg_attribute AS a ON a.attrelid = target.oid AND a.attnum = dependent.refobjsubid
 WHERE dependent.refobjsubid > 0 AND (:column IS NULL OR a.attname = :column)
   -- A view's own rule depends on its own columns.
   AND dependent.oid <> CASE WHEN target.relkind = 'v' THEN target.oid ELSE 0 END
 ORDER BY 1, 2, 3
