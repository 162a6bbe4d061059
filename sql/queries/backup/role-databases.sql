-- The databases of a role.
-- param: role text -- the role
-- effect: read-only
SELECT d.datname::text AS name FROM pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba WHERE r.rolname = :role ORDER BY 1
