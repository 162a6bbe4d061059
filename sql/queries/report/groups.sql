-- Groups with their clients and the progress of their calls.
-- es: Grupos con sus clientes y el avance de sus llamadas.
-- param: status text = null in none, pending, in_progress, completed, failed -- only groups whose batch is in this state
-- param: limit integer = null -- at most this many groups
-- effect: read-only
SELECT g.name AS grupo,
       -- One index alone answers this for each group that is shown.
       (SELECT count(*) FROM public.client_groups AS cg WHERE cg.group_id = g.id) AS total_clientes,
       g.batch_status,
       g.batch_completed_calls || '/' || g.batch_total_recipients AS llamadas
  FROM public.groups AS g
 WHERE g.is_active
   AND (:status IS NULL OR g.batch_status = :status)
 ORDER BY g.created_at DESC
 LIMIT :limit
