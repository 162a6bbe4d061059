-- Batch calls with their completion rate, the latest first, as in the view batch_call_statistics.
-- es: Estadísticas de llamadas en lote, como en la vista batch_call_statistics.
-- param: status text = null in pending, in_progress, completed, failed, cancelled -- only batches in this state
-- param: since timestamp = null -- only batches started since then (2025-10-29, today, 7d)
-- param: group text = null -- only batches of this group, by its name
-- param: limit integer = null -- at most this many batches
-- effect: read-only
SELECT batch.id,
       batch.batch_id,
       batch.call_name,
       batch.status,
       batch.total_recipients,
       batch.completed_calls,
       batch.failed_calls,
       CASE WHEN batch.total_recipients > 0
            THEN round(batch.completed_calls::numeric / batch.total_recipients * 100, 2)
            ELSE 0
       END AS completion_rate,
       batch.started_at,
       batch.completed_at,
       EXTRACT(epoch FROM batch.completed_at - batch.started_at) / 60 AS duration_minutes,
       campaign.name AS group_name,
       person.username AS user_name
  FROM public.batch_calls AS batch
  LEFT JOIN public.groups AS campaign ON campaign.id = batch.group_id
  LEFT JOIN public.users AS person ON person.id = batch.user_id
 WHERE (:status IS NULL OR batch.status = :status)
   AND (:since IS NULL OR batch.started_at >= :since)
   AND (:group IS NULL OR campaign.name = :group)
 ORDER BY batch.started_at DESC
 LIMIT :limit
