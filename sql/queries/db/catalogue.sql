-- The structure of schema public, one row per object, for the comparison of `db verify`.
-- effect: read-only
WITH relation AS (
    SELECT c.oid, c.relname, c.relkind
      FROM pg_class AS c
     WHERE c.relnamespace = 'public'::regnamespace
       AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
       AND NOT EXISTS (SELECT FROM pg_depend AS d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
)
SELECT CASE WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS kind,
       relname AS relation,
       '' AS name,
       CASE relkind WHEN 'v' THEN pg_get_viewdef(oid, true) WHEN 'm' THEN 'materialized ' || pg_get_viewdef(oid, true)
                    WHEN 'f' THEN 'foreign table' ELSE 'table' END AS definition
  FROM relation
UNION ALL
SELECT 'column', relname, attname, format_type(atttypid, atttypmod)
  FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT 'not null', relname, attname, 'NOT NULL'
  FROM relation JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped AND attnotnull
UNION ALL
SELECT 'default', relname, attname, pg_get_expr(adbin, adrelid)
  FROM relation
  JOIN pg_attribute ON attrelid = relation.oid AND NOT attisdropped
  JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
UNION ALL
-- A serial column's sequence belongs to it; a sequence that does not is left behind by
-- DROP and missed by tools that repair sequences.
SELECT 'sequence', relation.relname, attname, sequence.relname
  FROM relation
  JOIN pg_attribute ON attrelid = relation.oid AND attnum > 0 AND NOT attisdropped
  JOIN pg_depend ON refobjid = attrelid AND refobjsubid = attnum AND deptype IN ('a', 'i')
                AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
  JOIN pg_class AS sequence ON sequence.oid = objid AND sequence.relkind = 'S'
UNION ALL
SELECT CASE contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'f' THEN 'foreign key'
                    WHEN 'c' THEN 'check' ELSE 'constraint' END,
       relation.relname, conname, pg_get_constraintdef(pg_constraint.oid)
  FROM relation JOIN pg_constraint ON conrelid = relation.oid AND contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT 'index', relation.relname, index.relname,
       pg_get_indexdef(indexrelid) || CASE WHEN indisvalid AND indisready THEN '' ELSE ' INVALID' END
  FROM relation
  JOIN pg_index ON indrelid = relation.oid
  JOIN pg_class AS index ON index.oid = indexrelid
 WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'trigger', relname, tgname,
       pg_get_triggerdef(pg_trigger.oid, true)
       || CASE tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' ENABLED REPLICA'
                         ELSE ' ENABLED ALWAYS' END
  FROM relation JOIN pg_trigger ON tgrelid = relation.oid AND NOT tgisinternal
UNION ALL
SELECT 'function', '', proname || '(' || pg_get_function_identity_arguments(pg_proc.oid) || ')',
       'RETURNS ' || pg_get_function_result(pg_proc.oid) || ' LANGUAGE ' || lanname || ' ' || prosrc
  FROM pg_proc JOIN pg_language ON pg_language.oid = prolang
 WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
   AND NOT EXISTS (SELECT FROM pg_depend
                    WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
ORDER BY 1, 2, 3
