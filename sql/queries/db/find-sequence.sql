-- A sequence by its name as SQL writes it. One that begins anew at its end (is_cyclic) has no further and no back.
-- param: name text -- the name, quoted where it needs to be
-- effect: read-only
SELECT n.nspname::text AS schema, c.relname::text AS name, s.seqincrement > 0 AS is_ascending,
       s.seqcycle AS is_cyclic
  FROM pg_sequence AS s
  JOIN pg_class AS c ON c.oid = s.seqrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.oid = to_regclass(:name)
