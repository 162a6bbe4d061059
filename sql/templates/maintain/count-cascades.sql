-- The counts of a rule whose rows others refer to: its own rows, those deleted with them by table, the references
-- that are lost by foreign key, and the rows that stay by reason.
-- place: cascades -- the WITH clause of cascades.sql
-- place: table, alias -- the rule's table, and the name by which its condition calls a row
-- place: age, size -- a row's age and its bytes
{cascades}, gone_rows(rel, tid) AS MATERIALIZED (SELECT DISTINCT rel, tid FROM gone)
SELECT 'rule', NULL::pg_catalog.int8, NULL, pg_catalog.count(*),
       coalesce(pg_catalog.sum({size}), 0)::pg_catalog.int8,
       pg_catalog.min({age})::pg_catalog.text, pg_catalog.max({age})::pg_catalog.text
  FROM {table} AS {alias}
  JOIN gone_rows AS iacalls_g ON iacalls_g.rel OPERATOR(pg_catalog.=) {alias}.tableoid
                             AND iacalls_g.tid OPERATOR(pg_catalog.=) {alias}.ctid
  JOIN roots AS iacalls_r ON iacalls_r.rel OPERATOR(pg_catalog.=) iacalls_g.rel
                         AND iacalls_r.tid OPERATOR(pg_catalog.=) iacalls_g.tid
UNION ALL
SELECT 'delete', g.rel::pg_catalog.int8, NULL, pg_catalog.count(*), NULL, NULL, NULL FROM gone_rows AS g
 WHERE NOT EXISTS (SELECT FROM roots AS r WHERE r.rel OPERATOR(pg_catalog.=) g.rel
                                            AND r.tid OPERATOR(pg_catalog.=) g.tid) GROUP BY g.rel
UNION ALL
SELECT 'change', key, NULL, pg_catalog.count(DISTINCT (rel, tid)), NULL, NULL, NULL
  FROM changed GROUP BY key
UNION ALL
SELECT 'kept', NULL, reason, pg_catalog.count(*), NULL, NULL, NULL FROM kept GROUP BY reason
