-- The roles of this server, and whose objects the session's role may make.
-- effect: read-only
SELECT rolname::text AS name,
       -- What to be given away to a role takes: since PostgreSQL 16 a right of its own.
       pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
       AS is_assumable
  FROM pg_roles
 ORDER BY 1
