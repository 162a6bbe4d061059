-- The columns of a table in their order, with what writing them back needs to know.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid::regtype::text AS base,
       a.attgenerated <> '' AS is_generated,
       coalesce(array_position(i.indkey::smallint[], a.attnum), -1) AS key_position
  FROM pg_attribute AS a
  LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
 WHERE a.attrelid = (:oid)::oid AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
