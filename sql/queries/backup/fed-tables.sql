-- The tables that a sequence feeds: it is owned by a column of theirs, or named in a default.
-- param: name text -- the sequence, quoted where it needs to be
-- effect: read-only
SELECT n.nspname::text AS schema, c.relname::text AS name
  FROM (SELECT d.refobjid AS relation
          FROM pg_depend AS d
         WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
           AND d.objid = to_regclass(:name) AND d.deptype IN ('a', 'i')
         UNION
        SELECT f.adrelid
          FROM pg_depend AS d JOIN pg_attrdef AS f ON f.oid = d.objid
         WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
           AND d.refobjid = to_regclass(:name)) AS fed
  JOIN pg_class AS c ON c.oid = fed.relation
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 ORDER BY 1, 2
