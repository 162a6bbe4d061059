-- The columns of a table in their order, with what writing them back needs to know.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::regtype::text AS base,
       a.attgenerated <> '' AS is_generated, a.attgenerated <> 'v' AS is_stored,
       -- Its place in the primary key, without the columns that this only includes.
       coalesce((SELECT u.n FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS u(attnum, n)
                  WHERE u.attnum = a.attnum AND u.n <= i.indnkeyatts), 0) - 1 AS key_position
  FROM pg_attribute AS a
  LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
 WHERE a.attrelid = (:oid)::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
