-- The enabled triggers of people's own that deletes and updates fire.
-- effect: read-only
SELECT t.tgrelid::bigint AS relation, t.tgname::text AS name, t.tgtype & 8 > 0 AS on_delete, t.tgtype & 16 > 0 AS on_update,
       t.tgenabled = 'A' AS is_always,
       (SELECT coalesce(array_agg(a.attname::text), '{}') FROM pg_attribute AS a
         WHERE a.attrelid = t.tgrelid AND a.attnum = ANY (t.tgattr::smallint[])) AS columns
  FROM pg_trigger AS t
 WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgparentid = 0
 ORDER BY t.tgname
