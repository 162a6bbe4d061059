-- Whether the database holds nothing but the administrator: what `db init` leaves.
-- effect: read-only
SELECT NOT EXISTS (SELECT FROM users WHERE username <> 'admin')
   AND NOT EXISTS (SELECT FROM clients)
   AND NOT EXISTS (SELECT FROM groups)
   AND NOT EXISTS (SELECT FROM uploaded_files)
   AND NOT EXISTS (SELECT FROM gcp_documents)
   AND NOT EXISTS (SELECT FROM batch_calls)
   AND NOT EXISTS (SELECT FROM call_records)
   AND NOT EXISTS (SELECT FROM whatsapp_conversations) AS empty
