-- Whether the database holds nothing but the administrator: what `db init` leaves.
-- effect: read-only
SELECT NOT EXISTS (SELECT FROM public.users WHERE username <> 'admin')
   AND NOT EXISTS (SELECT FROM public.clients)
   AND NOT EXISTS (SELECT FROM public.groups)
   AND NOT EXISTS (SELECT FROM public.uploaded_files)
   AND NOT EXISTS (SELECT FROM public.gcp_documents)
   AND NOT EXISTS (SELECT FROM public.batch_calls)
   AND NOT EXISTS (SELECT FROM public.call_records)
   AND NOT EXISTS (SELECT FROM public.whatsapp_conversations) AS empty
