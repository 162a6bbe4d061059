-- The defaults of a table's columns, to be read again with the application's search_path, with which this runs.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT a.attname AS name, pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS value
  FROM pg_catalog.pg_attrdef AS d
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid AND a.attnum OPERATOR(pg_catalog.=) d.adnum
 WHERE d.adrelid OPERATOR(pg_catalog.=) (:oid)::pg_catalog.oid
