-- The clients with the most calls.
-- es: Los clientes más llamados.
-- param: limit integer = 10 -- at most this many clients
-- param: since timestamp = null -- only calls made since then (2025-10-29, today, 7d)
-- effect: read-only
WITH busiest AS (
    -- Only the winners are joined to their names; the count reads one index alone.
    SELECT client_id, count(*) AS calls
      FROM public.call_records
     WHERE client_id IS NOT NULL
       AND (:since IS NULL OR created_at >= :since)
     GROUP BY client_id
     ORDER BY calls DESC, client_id
     LIMIT :limit
)
SELECT c.name,
       c.phone,
       busiest.calls AS total_llamadas,
       (SELECT count(*) FROM public.call_records AS cr
         WHERE cr.client_id = busiest.client_id
           AND cr.status = 'completed'
           AND (:since IS NULL OR cr.created_at >= :since)) AS llamadas_exitosas
  FROM busiest
  JOIN public.clients AS c ON c.id = busiest.client_id
 ORDER BY busiest.calls DESC, c.id
