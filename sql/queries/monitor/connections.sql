-- Sessions on this database: who, what, since when.
-- es: Sesiones en esta base de datos: quién, qué, desde cuándo.
-- param: state text = null in active, idle, idle in transaction -- only sessions in this state
-- wide: query_start, waits_for
-- effect: read-only
SELECT pid,
       usename,
       application_name,
       client_addr,
       state,
       date_trunc('second', clock_timestamp() - query_start) AS age,
       CASE WHEN wait_event_type IS NOT NULL THEN wait_event_type || ': ' || wait_event END AS waits_for,
       query_start,
       query
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND (:state IS NULL OR state = :state)
 ORDER BY state IS DISTINCT FROM 'active', query_start
