-- The calls of the batches in `quiet` (stuck-batches.sql), by batch: how many, whether one is recent, the latest time.
-- place: recent, latest -- whether one of a call's times is recent, and the latest of them
SELECT call.batch_call_id::pg_catalog.text AS id, pg_catalog.count(*) AS rows,
       pg_catalog.bool_or({recent}) AS is_recent, pg_catalog.max({latest}) AS latest
  FROM public.call_records AS call
 WHERE call.batch_call_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT quiet.id FROM quiet))
 GROUP BY call.batch_call_id
