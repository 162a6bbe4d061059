-- All calls of one client, the latest first: the view client_call_history.
-- es: Historial completo de llamadas de un cliente: la vista client_call_history.
-- param: client_id integer -- the client's id
-- param: limit integer = null -- at most this many calls
-- effect: read-only
SELECT client_id,
       client_name,
       client_phone,
       call_record_id,
       call_status,
       call_duration_secs,
       transcript_summary,
       call_started_at,
       call_ended_at,
       batch_id,
       batch_name,
       group_name
  FROM public.client_call_history
 WHERE client_id = :client_id
 ORDER BY call_started_at DESC
 LIMIT :limit
