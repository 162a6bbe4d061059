-- The extensions that can be created on this server.
-- effect: read-only
SELECT name::text AS name FROM pg_available_extensions ORDER BY 1
