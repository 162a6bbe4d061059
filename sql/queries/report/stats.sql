-- General figures: users, clients, groups, batches, calls and messages.
-- es: Estadísticas generales del sistema.
-- effect: read-only
SELECT (SELECT count(*) FROM public.users WHERE is_active) AS usuarios_activos,
       (SELECT count(*) FROM public.clients WHERE is_active) AS clientes_totales,
       (SELECT count(*) FROM public.groups WHERE is_active) AS grupos_activos,
       (SELECT count(*) FROM public.batch_calls WHERE status = 'completed') AS batch_calls_completados,
       (SELECT count(*) FROM public.call_records WHERE status = 'completed') AS llamadas_completadas,
       (SELECT count(*) FROM public.whatsapp_conversations WHERE status = 'sent') AS mensajes_whatsapp_enviados
