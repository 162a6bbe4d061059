-- Every foreign key, with what it does when a referenced row goes.
-- effect: read-only
SELECT k.oid::bigint AS oid, k.conname::text AS name, k.confdeltype::text AS action,
       k.conrelid::bigint AS child, k.confrelid::bigint AS parent,
       (SELECT array_agg(a.attname::text ORDER BY u.n)
          FROM unnest(k.conkey) WITH ORDINALITY AS u(attnum, n)
          JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum) AS columns,
       -- By the operators of the constraint itself: types from extensions have theirs in other schemas.
       (SELECT string_agg(format('p.%I OPERATOR(%I.%s) c.%I', pa.attname, o.nspname, o.oprname, ca.attname),
                          ' AND ' ORDER BY u.n)
          FROM unnest(k.conkey, k.confkey, k.conpfeqop) WITH ORDINALITY AS u(child, parent, operator, n)
          JOIN pg_attribute AS ca ON ca.attrelid = k.conrelid AND ca.attnum = u.child
          JOIN pg_attribute AS pa ON pa.attrelid = k.confrelid AND pa.attnum = u.parent
          JOIN LATERAL (SELECT oprname, nspname FROM pg_operator JOIN pg_namespace ON pg_namespace.oid = oprnamespace
                         WHERE pg_operator.oid = u.operator) AS o ON true) AS condition,
       EXISTS (SELECT FROM pg_index AS i
                WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = ANY (k.conkey)
              ) AS is_indexed
  FROM pg_constraint AS k
 WHERE k.contype = 'f' AND k.conparentid = 0
 ORDER BY k.conrelid, k.conname
