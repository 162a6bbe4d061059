-- End all sessions of a role.
-- param: role text -- the role
-- effect: write
SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity WHERE usename = :role
