SELECT 
  g.name AS grupo,
  COUNT(cr.id) AS total_llamadas,
  ROUND(AVG(cr.call_duration_secs)) AS duracion_promedio_segundos,
  ROUND(AVG(cr.call_duration_secs) / 60, 2) AS duracion_promedio_minutos
FROM groups g
JOIN batch_calls bc ON g.id = bc.group_id
JOIN call_records cr ON bc.id = cr.batch_call_id
WHERE cr.call_duration_secs IS NOT NULL
GROUP BY g.id, g.name
ORDER BY total_llamadas DESC;
