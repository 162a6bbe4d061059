-- Groups with their success rate, as in the view group_statistics.
-- es: Estadísticas de grupos con tasas de éxito, como en la vista group_statistics.
-- param: status text = null in none, pending, in_progress, completed, failed -- only groups whose batch is in this state
-- param: limit integer = null -- at most this many groups
-- effect: read-only
SELECT id,
       name,
       batch_status,
       -- A client is in a group once, by a unique key: counting needs no DISTINCT.
       (SELECT count(*) FROM public.client_groups AS cg WHERE cg.group_id = groups.id) AS total_clients,
       batch_total_recipients,
       batch_completed_calls,
       batch_failed_calls,
       CASE WHEN batch_total_recipients > 0
            THEN round(batch_completed_calls::numeric / batch_total_recipients * 100, 2)
            ELSE 0
       END AS success_rate,
       created_at,
       batch_started_at,
       batch_completed_at
  FROM public.groups
 WHERE is_active
   AND (:status IS NULL OR batch_status = :status)
 ORDER BY id
 LIMIT :limit
