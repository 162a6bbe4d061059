-- Functions that run while rows are restored, and find names by search_path: of generated columns, CHECK
-- constraints, indexes and materialized views. pg_dump restores with an empty search_path.
-- effect: read-only
WITH used AS (
    SELECT d.refobjid AS function, 'generated column ' || quote_ident(a.attname) || ' of ' || f.adrelid::regclass AS used_by
      FROM pg_depend AS d
      JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
      JOIN pg_attribute AS a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
     WHERE d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT d.refobjid, 'constraint ' || quote_ident(k.conname)
           || coalesce(' of ' || nullif(k.conrelid, 0)::regclass::text, ' of type ' || k.contypid::regtype::text)
      FROM pg_depend AS d
      JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid AND k.contype = 'c'
     WHERE d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT d.refobjid, 'index ' || c.oid::regclass
      FROM pg_depend AS d
      JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('i', 'I')
     WHERE d.refclassid = 'pg_proc'::regclass
    UNION
    SELECT d.refobjid, 'materialized view ' || c.oid::regclass
      FROM pg_depend AS d
      JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
      JOIN pg_class AS c ON c.oid = r.ev_class AND c.relkind = 'm'
     WHERE d.refclassid = 'pg_proc'::regclass
)
SELECT p.oid::bigint AS oid, p.oid::regprocedure::text AS function, min(used.used_by) AS used_by,
       l.lanname = 'sql' AS is_sql,
       -- What other languages look up is seen only in their text: a call or a table without its schema.
       l.lanname <> 'sql' AND (
           EXISTS (SELECT FROM pg_proc AS q JOIN pg_namespace AS n ON n.oid = q.pronamespace
                    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND q.proname ~ '^[a-z_][a-z0-9_]*$'
                      AND NOT EXISTS (SELECT FROM pg_proc AS b WHERE b.proname = q.proname
                                         AND b.pronamespace = 'pg_catalog'::regnamespace)
                      AND p.prosrc ~* ('(^|[^.\w"])' || q.proname || '\s*\('))
           OR EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                       WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_'
                         AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname ~ '^[a-z_][a-z0-9_]*$'
                         AND p.prosrc ~* ('\m(from|join|into|update)\s+' || c.relname || '\M'))) AS is_suspect
  FROM used
  JOIN pg_proc AS p ON p.oid = used.function
  JOIN pg_language AS l ON l.oid = p.prolang AND l.lanname NOT IN ('c', 'internal')
 WHERE p.pronamespace <> 'pg_catalog'::regnamespace
   AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')
   -- BEGIN ATOMIC: its names were looked up when it was made (PostgreSQL 14 and newer).
   AND (to_jsonb(p) ->> 'prosqlbody') IS NULL
 GROUP BY p.oid, l.lanname, p.prosrc
 ORDER BY 2
