SELECT 
  c.name AS cliente,
  cr.phone_number,
  cr.call_duration_secs,
  cr.transcript_summary,
  cr.status,
  cr.call_ended_at
FROM call_records cr
JOIN clients c ON cr.client_id = c.id
WHERE cr.status = 'completed'
ORDER BY cr.call_ended_at DESC
LIMIT 20;
