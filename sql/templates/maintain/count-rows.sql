-- The counts of a rule on a table that nothing refers to: rows, bytes, oldest, newest, and rows that are protected.
-- place: table, alias -- the rule's table, and the name by which its condition calls a row
-- place: age, size, kept -- a row's age, its bytes, whether it is protected
-- place: old, there -- whether a row is old, and is not gone with an earlier rule
SELECT pg_catalog.count(*) FILTER (WHERE NOT kept),
       coalesce(pg_catalog.sum(size) FILTER (WHERE NOT kept), 0)::pg_catalog.int8,
       pg_catalog.min(age) FILTER (WHERE NOT kept)::pg_catalog.text,
       pg_catalog.max(age) FILTER (WHERE NOT kept)::pg_catalog.text,
       pg_catalog.count(*) FILTER (WHERE kept)
  FROM (SELECT {age} AS age, {size} AS size, {kept} AS kept FROM {table} AS {alias} WHERE {old} AND {there}) AS r
