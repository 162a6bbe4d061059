-- A WITH clause for all that deleting old rows (roots) does: the rows that are deleted (gone), those whose
-- reference is set to NULL or a default (changed), and the roots that stay, each with its first reason (kept).
-- place: earlier -- a part `earlier(rel, tid)` with the rows that are gone before, or nothing
-- place: roots -- a query for the rel and tid of the old rows
-- place: root_there, dependent_there -- whether a row r of roots, x of dependents is not among `earlier`
-- place: dependents -- a query for the rows that are deleted with a row of d by a cascade
-- place: blocked -- a query for the roots that stay, with the reasons and their ranks
-- place: changed -- a query for the references that are lost
WITH RECURSIVE {earlier}roots(rel, tid) AS MATERIALIZED (SELECT rel, tid FROM ({roots}) AS r(rel, tid) WHERE {root_there}),
doomed(root_rel, root, rel, tid) AS (
    SELECT rel, tid, rel, tid FROM roots
    UNION
    SELECT d.root_rel, d.root, x.rel, x.tid
      FROM doomed AS d CROSS JOIN LATERAL ({dependents}) AS x(rel, tid) WHERE {dependent_there}),
kept(rel, tid, reason) AS MATERIALIZED (
    SELECT b.root_rel, b.root, (pg_catalog.array_agg(b.reason ORDER BY b.rank, b.reason))[1]
      FROM ({blocked}) AS b(root_rel, root, rank, reason) GROUP BY b.root_rel, b.root),
gone(root_rel, root, rel, tid) AS MATERIALIZED (
    SELECT d.root_rel, d.root, d.rel, d.tid FROM doomed AS d
     WHERE NOT EXISTS (SELECT FROM kept AS k WHERE k.rel OPERATOR(pg_catalog.=) d.root_rel
                                               AND k.tid OPERATOR(pg_catalog.=) d.root)),
changed(key, root, rel, tid) AS ({changed})
