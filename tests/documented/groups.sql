SELECT 
  g.name AS grupo,
  COUNT(cg.client_id) AS total_clientes,
  g.batch_status,
  g.batch_completed_calls || '/' || g.batch_total_recipients AS llamadas
FROM groups g
LEFT JOIN client_groups cg ON g.id = cg.group_id
WHERE g.is_active = TRUE
GROUP BY g.id, g.name, g.batch_status, g.batch_completed_calls, g.batch_total_recipients
ORDER BY g.created_at DESC;
