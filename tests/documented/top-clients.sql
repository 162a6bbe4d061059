SELECT 
  c.name,
  c.phone,
  COUNT(cr.id) AS total_llamadas,
  COUNT(CASE WHEN cr.status = 'completed' THEN 1 END) AS llamadas_exitosas
FROM clients c
JOIN call_records cr ON c.id = cr.client_id
GROUP BY c.id, c.name, c.phone
ORDER BY total_llamadas DESC
LIMIT 10;
