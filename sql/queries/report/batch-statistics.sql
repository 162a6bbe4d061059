-- Batch calls with their completion rate, the latest first: the view batch_call_statistics.
-- es: Estadísticas de llamadas en lote: la vista batch_call_statistics.
-- param: status text = null in pending, in_progress, completed, failed, cancelled -- only batches in this state
-- param: since timestamp = null -- only batches started since then (2025-10-29, today, 7d)
-- param: group text = null -- only batches of this group, by its name
-- param: limit integer = null -- at most this many batches
-- effect: read-only
SELECT id,
       batch_id,
       call_name,
       status,
       total_recipients,
       completed_calls,
       failed_calls,
       completion_rate,
       started_at,
       completed_at,
       duration_minutes,
       group_name,
       user_name
  FROM public.batch_call_statistics
 WHERE (:status IS NULL OR status = :status)
   AND (:since IS NULL OR started_at >= :since)
   AND (:group IS NULL OR group_name = :group)
 ORDER BY started_at DESC
 LIMIT :limit
