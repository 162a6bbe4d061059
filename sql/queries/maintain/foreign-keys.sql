-- Every foreign key, with what it does when a referenced row goes.
-- effect: read-only
WITH keys AS (
    -- ON DELETE SET NULL (columns) came with PostgreSQL 15.
    SELECT k.*, coalesce((SELECT array_agg(s::smallint) FROM jsonb_array_elements_text(nullif(to_jsonb(k) -> 'confdelsetcols', 'null')) AS s),
                         k.conkey) AS changed
      FROM pg_constraint AS k
     WHERE k.contype = 'f' AND k.conparentid = 0
       -- NOT ENFORCED came with PostgreSQL 18: such a key does nothing.
       AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true)
)
SELECT k.oid::bigint AS oid, k.conname::text AS name,
       -- A column that may not be NULL refuses to be set so.
       CASE WHEN k.confdeltype = 'n' AND EXISTS (SELECT FROM pg_attribute AS a
                                                  WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.changed) AND a.attnotnull)
            THEN 'r' ELSE k.confdeltype::text END AS action,
       k.conrelid::bigint AS child, k.confrelid::bigint AS parent,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) AS columns,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
         WHERE u.attnum = ANY (k.changed)) AS changed,
       -- What a row has instead once its reference is lost.
       (SELECT array_agg(CASE WHEN k.confdeltype = 'd' THEN coalesce(pg_get_expr(d.adbin, d.adrelid), 'NULL') ELSE 'NULL' END
                         ORDER BY u.n)
          FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
          LEFT JOIN pg_attrdef AS d ON d.adrelid = k.conrelid AND d.adnum = u.attnum
         WHERE u.attnum = ANY (k.changed)) AS lost,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.confkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.attnum) AS parent_columns,
       -- By the operators of the constraint itself: types from extensions have theirs in other schemas.
       (SELECT string_agg(format('p.%I OPERATOR(%I.%s) c.%I', pa.attname, o.nspname, o.oprname, ca.attname),
                          ' AND ' ORDER BY u.n)
          FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS u(child, parent, operator, n)
          JOIN pg_attribute AS ca ON ca.attrelid = k.conrelid AND ca.attnum = u.child
          JOIN pg_attribute AS pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
          JOIN LATERAL (SELECT oprname, nspname FROM pg_operator JOIN pg_namespace ON pg_namespace.oid = oprnamespace
                         WHERE pg_operator.oid = u.operator) AS o ON true) AS condition,
       -- Each row that goes has all of the table read for those that refer to it. By the server's own count of
       -- pages, since asking for a size waits for whoever locks the table.
       NOT EXISTS (SELECT FROM pg_index AS i
                    WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = ANY (k.conkey)
                  ) AND (SELECT sum(c.relpages) FROM pg_class AS c
                          WHERE c.oid = k.conrelid
                             OR c.oid IN (SELECT relid FROM pg_partition_tree(k.conrelid) WHERE isleaf)) > 100 AS is_slow
  FROM keys AS k
 ORDER BY k.conrelid, k.conname
