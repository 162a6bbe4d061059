-- The roles of this server, and whose objects the session's role may make.
-- effect: read-only
SELECT rolname::text AS name,
       pg_has_role(oid, 'MEMBER') AS is_assumable
  FROM pg_roles
 ORDER BY 1
