-- The tablespaces of this server.
-- effect: read-only
SELECT spcname::text AS name FROM pg_tablespace ORDER BY 1
