-- The unique indexes of a table besides its primary key: what they compare, by which operators, and of which rows.
-- It runs with the application's search_path, in which its expressions are read again: so all names have their schema.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT i.indexrelid::pg_catalog.regclass::pg_catalog.text AS name,
       (SELECT pg_catalog.array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, n, true) ORDER BY n)
          FROM pg_catalog.generate_series(1, i.indnkeyatts) AS n) AS expressions,
       (SELECT pg_catalog.array_agg(pg_catalog.format('OPERATOR(%I.%s)', s.nspname, o.oprname) ORDER BY u.n)
          FROM pg_catalog.unnest(i.indclass::pg_catalog.oid[]) WITH ORDINALITY AS u(class, n)
          JOIN pg_catalog.pg_opclass AS c ON c.oid OPERATOR(pg_catalog.=) u.class
          JOIN pg_catalog.pg_amop AS a ON a.amopfamily OPERATOR(pg_catalog.=) c.opcfamily
                                      AND a.amoplefttype OPERATOR(pg_catalog.=) c.opcintype
                                      AND a.amoprighttype OPERATOR(pg_catalog.=) c.opcintype
                                      AND a.amopstrategy OPERATOR(pg_catalog.=) 3
          JOIN pg_catalog.pg_operator AS o ON o.oid OPERATOR(pg_catalog.=) a.amopopr
          JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) o.oprnamespace
         WHERE u.n OPERATOR(pg_catalog.<=) i.indnkeyatts) AS operators,
       coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), 'true') AS predicate
  FROM pg_catalog.pg_index AS i
  JOIN pg_catalog.pg_class AS r ON r.oid OPERATOR(pg_catalog.=) i.indexrelid
  JOIN pg_catalog.pg_am AS m ON m.oid OPERATOR(pg_catalog.=) r.relam AND m.amname OPERATOR(pg_catalog.=) 'btree'
 WHERE i.indrelid OPERATOR(pg_catalog.=) (:oid)::pg_catalog.oid AND i.indisunique AND NOT i.indisprimary AND i.indisvalid
 ORDER BY i.indexrelid
