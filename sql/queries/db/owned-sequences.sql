-- Ascending sequences that feed a column of whole numbers: owned by it, or named in its default.
-- effect: read-only
SELECT DISTINCT n.nspname::text AS schema, c.relname::text AS name, s.seqincrement AS increment, s.seqmax AS most,
       tn.nspname::text AS table_schema, t.relname::text AS table_name, a.attname::text AS column_name
  FROM pg_sequence AS s
  JOIN pg_class AS c ON c.oid = s.seqrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  -- Owned (serial, identity), or used by a default: copies made by other tools lose the first.
  JOIN (SELECT d.objid AS sequence, d.refobjid AS relation, d.refobjsubid AS number
          FROM pg_depend AS d
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
           AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
         UNION
        SELECT d.refobjid, f.adrelid, f.adnum
          FROM pg_depend AS d
          JOIN pg_attrdef AS f ON f.oid = d.objid
         WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
           AND pg_get_expr(f.adbin, f.adrelid) LIKE 'nextval(%') AS feeds ON feeds.sequence = s.seqrelid
  JOIN pg_class AS t ON t.oid = feeds.relation AND t.relkind IN ('r', 'p')
  JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = feeds.number AND NOT a.attisdropped
  JOIN pg_type AS y ON y.oid = a.atttypid AND y.typname IN ('int2', 'int4', 'int8', 'numeric')
 WHERE s.seqincrement > 0
   -- One that begins anew at its end may well be behind.
   AND NOT s.seqcycle
   AND c.relpersistence <> 't'
 ORDER BY 1, 2
