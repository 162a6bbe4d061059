-- The server's clock and time zone, and what tells this server and database from others.
-- effect: read-only
SELECT now() AS now,
       (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone') AS zone,
       current_database()::text AS database,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       current_setting('server_version') AS server_version,
       current_setting('block_size')::integer AS block_size
