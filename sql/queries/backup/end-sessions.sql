-- End the sessions in a database that this role may end.
-- param: name text -- the database
-- effect: write
SELECT pid, pg_terminate_backend(pid) AS ended
  FROM pg_stat_activity
 WHERE datname = :name AND pid <> pg_backend_pid()
   AND backend_type = 'client backend'
   AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))
   AND (NOT (SELECT rolsuper FROM pg_roles WHERE pg_roles.oid = usesysid)
        OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))
