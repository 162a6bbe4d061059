-- Tables and materialized views in other schemas than public.
-- effect: read-only
SELECT count(*) AS tables, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS size
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'm')
   AND n.nspname NOT IN ('public', 'pg_catalog', 'information_schema')
   AND n.nspname !~ '^pg_(toast|temp)'
