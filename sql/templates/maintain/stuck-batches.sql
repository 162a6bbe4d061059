-- The batches in an open state in which nothing happened for long, the oldest first, with their calls.
-- place: name -- a batch's name for people
-- place: latest, recent -- the latest of a batch's times, and whether one of them is recent
-- place: open -- whether a batch's state is open
-- place: calls -- the query of calls-of-batches.sql, or one for no rows
WITH quiet AS MATERIALIZED (
    SELECT batch.id AS id, {name} AS name, batch.status::pg_catalog.text AS status, {latest} AS latest
      FROM public.batch_calls AS batch WHERE {open} AND NOT {recent}
), calls AS ({calls})
SELECT quiet.id::pg_catalog.text, quiet.name, coalesce(quiet.status, 'without a state'),
       pg_catalog.to_char(greatest(quiet.latest, calls.latest), 'YYYY-MM-DD HH24:MI'), coalesce(calls.rows, 0)
  FROM quiet LEFT JOIN calls ON calls.id OPERATOR(pg_catalog.=) quiet.id::pg_catalog.text
 WHERE NOT coalesce(calls.is_recent, false) AND greatest(quiet.latest, calls.latest) IS NOT NULL
 ORDER BY greatest(quiet.latest, calls.latest), quiet.id
