-- The unique indexes of a table besides its primary key: what they compare, by which operators, and of which rows.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT i.indexrelid::regclass::text AS name,
       (SELECT array_agg(pg_get_indexdef(i.indexrelid, n, true) ORDER BY n) FROM generate_series(1, i.indnkeyatts) AS n) AS expressions,
       (SELECT array_agg(format('OPERATOR(%I.%s)', s.nspname, o.oprname) ORDER BY u.n)
          FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u(class, n)
          JOIN pg_opclass AS c ON c.oid = u.class
          JOIN pg_amop AS a ON a.amopfamily = c.opcfamily AND a.amoplefttype = c.opcintype
                           AND a.amoprighttype = c.opcintype AND a.amopstrategy = 3
          JOIN pg_operator AS o ON o.oid = a.amopopr
          JOIN pg_namespace AS s ON s.oid = o.oprnamespace
         WHERE u.n <= i.indnkeyatts) AS operators,
       coalesce(pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate
  FROM pg_index AS i
  JOIN pg_class AS r ON r.oid = i.indexrelid
  JOIN pg_am AS m ON m.oid = r.relam AND m.amname = 'btree'
 WHERE i.indrelid = (:oid)::oid AND i.indisunique AND NOT i.indisprimary AND i.indisvalid
 ORDER BY i.indexrelid
