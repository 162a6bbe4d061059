-- Whether the triggers of foreign keys fire in this session, and where its session_replication_role comes from.
-- effect: read-only
SELECT setting AS role, source, quote_ident(current_database()) AS database,
       quote_ident(current_user) AS "user"
  FROM pg_settings
 WHERE name = 'session_replication_role'
