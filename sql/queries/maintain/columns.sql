-- The columns of a table in their order, with what writing them back needs to know.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::regtype::text AS base,
       a.attgenerated <> '' AS is_generated, a.attgenerated <> 'v' AS is_stored,
       coalesce(k.n, 0) - 1 AS key_position,
       -- The key's own operators: types from extensions have theirs in other schemas.
       coalesce(k.equals, 'OPERATOR(pg_catalog.=)') AS equals, k.greater, k.at_most
  FROM pg_attribute AS a
  LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
  -- Its place in the primary key, without the columns that this only includes.
  LEFT JOIN LATERAL (
        SELECT u.n,
               max(format('OPERATOR(%I.%s)', s.nspname, o.oprname)) FILTER (WHERE m.amopstrategy = 3) AS equals,
               max(format('OPERATOR(%I.%s)', s.nspname, o.oprname)) FILTER (WHERE m.amopstrategy = 5) AS greater,
               max(format('OPERATOR(%I.%s)', s.nspname, o.oprname)) FILTER (WHERE m.amopstrategy = 2) AS at_most
          FROM unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS u(attnum, class, n)
          JOIN pg_opclass AS c ON c.oid = u.class
          JOIN pg_amop AS m ON m.amopfamily = c.opcfamily AND m.amoplefttype = c.opcintype
                           AND m.amoprighttype = c.opcintype
          JOIN pg_operator AS o ON o.oid = m.amopopr
          JOIN pg_namespace AS s ON s.oid = o.oprnamespace
         WHERE u.attnum = a.attnum AND u.n <= i.indnkeyatts
         GROUP BY u.n
       ) AS k ON true
 WHERE a.attrelid = (:oid)::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
