-- All calls of one client, the latest first, as in the view client_call_history.
-- es: Historial completo de llamadas de un cliente, como en la vista client_call_history.
-- param: client_id integer -- the client's id
-- param: limit integer = null -- at most this many calls
-- effect: read-only
SELECT client.id AS client_id,
       client.name AS client_name,
       client.phone AS client_phone,
       call.id AS call_record_id,
       call.status AS call_status,
       call.call_duration_secs,
       call.transcript_summary,
       call.call_started_at,
       call.call_ended_at,
       batch.batch_id,
       batch.call_name AS batch_name,
       campaign.name AS group_name
  FROM public.clients AS client
  LEFT JOIN public.call_records AS call ON call.client_id = client.id
  LEFT JOIN public.batch_calls AS batch ON batch.id = call.batch_call_id
  LEFT JOIN public.groups AS campaign ON campaign.id = batch.group_id
 WHERE client.is_active
   AND client.id = :client_id
 ORDER BY call.call_started_at DESC
 LIMIT :limit
