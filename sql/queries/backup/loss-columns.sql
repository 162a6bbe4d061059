-- Tables with the column that tells their newest rows: a primary key of one whole number.
-- effect: read-only
SELECT n.nspname::text AS schema, c.relname::text AS name,
       (SELECT a.attname::text
          FROM pg_index AS i
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
          JOIN pg_type AS t ON t.oid = a.atttypid AND t.typname IN ('int2', 'int4', 'int8')
         WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1) AS key,
       EXISTS (SELECT FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND a.attname = 'updated_at' AND NOT a.attisdropped
                  AND a.atttypid IN ('timestamp'::regtype, 'timestamptz'::regtype)) AS has_updated_at
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p')
   AND NOT c.relispartition
   AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname
