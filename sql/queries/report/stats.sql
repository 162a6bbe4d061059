-- General figures: users, clients, groups, batches, calls and messages.
-- es: Estadísticas generales del sistema.
-- effect: read-only
SELECT (SELECT count(*) FROM users WHERE is_active) AS usuarios_activos,
       (SELECT count(*) FROM clients WHERE is_active) AS clientes_totales,
       (SELECT count(*) FROM groups WHERE is_active) AS grupos_activos,
       (SELECT count(*) FROM batch_calls WHERE status = 'completed') AS batch_calls_completados,
       (SELECT count(*) FROM call_records WHERE status = 'completed') AS llamadas_completadas,
       (SELECT count(*) FROM whatsapp_conversations WHERE status = 'sent') AS mensajes_whatsapp_enviados
