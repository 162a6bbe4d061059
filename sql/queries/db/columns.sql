-- The columns of a table or view.
-- param: oid bigint -- the table's oid
-- prose: column, default, comment
-- effect: read-only
SELECT attname AS column,
       replace(replace(replace(format_type(atttypid, atttypmod), 'character varying', 'varchar'),
               'timestamp without time zone', 'timestamp'), 'timestamp with time zone', 'timestamptz') AS type,
       NOT attnotnull AS nullable,
       pg_get_expr(adbin, adrelid) AS default,
       col_description(attrelid, attnum) AS comment
  FROM pg_attribute
  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
 WHERE attrelid = (:oid)::oid AND attnum > 0 AND NOT attisdropped
 ORDER BY attnum
