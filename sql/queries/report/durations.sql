-- The mean duration of calls, by group.
-- es: Duración promedio de las llamadas, por grupo.
-- param: since timestamp = null -- only calls made since then (2025-10-29, today, 7d)
-- param: group text = null -- only this group, by its name
-- param: limit integer = null -- at most this many groups
-- effect: read-only
WITH by_batch AS (
    SELECT batch_call_id, count(*) AS calls, sum(call_duration_secs) AS seconds
      FROM public.call_records
     WHERE call_duration_secs IS NOT NULL
       AND (:since IS NULL OR created_at >= :since)
     GROUP BY batch_call_id
)
SELECT g.name AS grupo,
       sum(by_batch.calls)::bigint AS total_llamadas,
       round(sum(by_batch.seconds)::numeric / sum(by_batch.calls)) AS duracion_promedio_segundos,
       round(sum(by_batch.seconds)::numeric / sum(by_batch.calls) / 60, 2) AS duracion_promedio_minutos
  FROM by_batch
  JOIN public.batch_calls AS b ON b.id = by_batch.batch_call_id
  JOIN public.groups AS g ON g.id = b.group_id
 WHERE :group IS NULL OR g.name = :group
 GROUP BY g.id, g.name
 ORDER BY total_llamadas DESC, g.id
 LIMIT :limit
