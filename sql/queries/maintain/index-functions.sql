-- The functions in a table's indexes and extended statistics that find names by search_path.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT used.kind, used.name, p.oid::regprocedure::text AS function
  FROM (
        SELECT 'pg_class'::regclass AS class, i.indexrelid AS oid, 'index' AS kind, c.relname::text AS name
          FROM pg_index AS i
          JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = (:oid)::oid
        UNION ALL
        SELECT 'pg_statistic_ext'::regclass, s.oid, 'statistics object', s.stxname::text
          FROM pg_statistic_ext AS s
         WHERE s.stxrelid = (:oid)::oid
       ) AS used
  JOIN pg_depend AS d ON d.classid = used.class AND d.objid = used.oid
  LEFT JOIN pg_operator AS o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
  JOIN pg_proc AS p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
  JOIN pg_language AS l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('internal', 'c')
   AND p.prosqlbody IS NULL
   AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search_path=%')
 GROUP BY used.kind, used.name, p.oid
 ORDER BY used.kind, used.name, function
