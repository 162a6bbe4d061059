-- Completed calls with their transcript's summary, the latest first; of other states with --status.
-- es: Llamadas completadas con el resumen de su transcripción, las últimas primero; de otros estados con --status.
-- param: limit integer = 20 -- at most this many calls
-- param: status text = completed in pending, initiated, ringing, in_progress, completed, finished, ended, failed, busy, no_answer, cancelled, all, ended_well -- calls in this state; ended_well is completed, finished or ended
-- param: since timestamp = null -- only calls that ended since then (2025-10-29, today, 7d); of all states also those that began since then
-- param: group text = null -- only calls of this group, by its name
-- effect: read-only
SELECT c.name AS cliente,
       cr.phone_number,
       cr.call_duration_secs,
       cr.transcript_summary,
       cr.status,
       cr.call_ended_at
  -- The latest are chosen before their clients are looked up. A call whose client was
  -- deleted has no client_id and is left out, as the join of the documented query does.
  -- A call that has not ended counts, among all states, from when it began. The planner knows
  -- the value of status: for one state that order falls away.
  FROM (SELECT client_id, phone_number, call_duration_secs, transcript_summary, status, call_ended_at,
               CASE WHEN :status = 'all' THEN coalesce(call_ended_at, call_started_at, created_at) END AS latest
          FROM public.call_records
         WHERE (:status = 'all'
                OR status = ANY (CASE WHEN :status = 'ended_well' THEN ARRAY['completed', 'finished', 'ended']
                                      ELSE ARRAY[:status] END))
           AND client_id IS NOT NULL
           AND (:since IS NULL OR call_ended_at >= :since
                OR (:status = 'all' AND call_ended_at IS NULL AND coalesce(call_started_at, created_at) >= :since))
           AND (:group IS NULL OR batch_call_id IN (SELECT b.id FROM public.batch_calls AS b
                                                      JOIN public.groups AS g ON g.id = b.group_id
                                                     WHERE g.name = :group))
         ORDER BY latest DESC, call_ended_at DESC
         LIMIT :limit) AS cr
  JOIN public.clients AS c ON c.id = cr.client_id
 ORDER BY cr.latest DESC, cr.call_ended_at DESC
