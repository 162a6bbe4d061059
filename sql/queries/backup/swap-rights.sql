-- Whether the session's role may put another database in this one's place.
-- param: name text -- the database
-- effect: read-only
SELECT pg_has_role(d.datdba, 'USAGE') AS is_owner,
       (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may_create,
       pg_get_userbyid(d.datdba)::text AS owner,
       current_user::text AS role,
       (SELECT count(*) FROM pg_prepared_xacts AS x WHERE x.database = d.datname) AS prepared
  FROM pg_database AS d
 WHERE d.datname = :name
