SELECT 
  (SELECT COUNT(*) FROM users WHERE is_active = TRUE) AS usuarios_activos,
  (SELECT COUNT(*) FROM clients WHERE is_active = TRUE) AS clientes_totales,
  (SELECT COUNT(*) FROM groups WHERE is_active = TRUE) AS grupos_activos,
  (SELECT COUNT(*) FROM batch_calls WHERE status = 'completed') AS batch_calls_completados,
  (SELECT COUNT(*) FROM call_records WHERE status = 'completed') AS llamadas_completadas,
  (SELECT COUNT(*) FROM whatsapp_conversations WHERE status = 'sent') AS mensajes_whatsapp_enviados;
