-- What the role may do here that `db init` needs.
-- effect: read-only
SELECT has_schema_privilege('public', 'CREATE') AS may_create, current_user::text AS role,
       (SELECT rolname FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid
         WHERE datname = current_database())::text AS owner
