-- What tells this server from every other one.
-- effect: read-only
SELECT system_identifier::text AS system_identifier FROM pg_control_system()
