-- The relations between the tables of schema public.
-- effect: read-only
SELECT child.relname AS child,
       (SELECT array_agg(attname::text ORDER BY place)
          FROM unnest(conkey) WITH ORDINALITY AS k (attnum, place)
          JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = k.attnum) AS columns,
       parent.relname AS parent,
       CASE confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT'
                        WHEN 'r' THEN 'RESTRICT' ELSE 'NO ACTION' END AS on_delete,
       NOT EXISTS (SELECT FROM unnest(conkey) AS k (attnum)
                     JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = k.attnum
                    WHERE NOT attnotnull) AS is_required
  FROM pg_constraint
  JOIN pg_class AS child ON child.oid = conrelid
  JOIN pg_class AS parent ON parent.oid = confrelid
 WHERE contype = 'f' AND conparentid = 0 AND child.relnamespace = 'public'::regnamespace
 ORDER BY child.relname, 2, parent.relname
