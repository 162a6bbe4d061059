-- Whether nobody but superusers and this role can have put, or put now, an operator or function into these schemas.
-- param: schemas text -- a JSON array of their names
-- effect: read-only
WITH trusted AS (
    SELECT oid FROM pg_roles WHERE rolsuper OR rolname = current_user
    UNION
    -- The only member of pg_database_owner is the owner of the database.
    SELECT owners.oid
      FROM pg_roles AS owners, pg_database AS d JOIN pg_roles AS r ON r.oid = d.datdba
     WHERE owners.rolname = 'pg_database_owner'
       AND d.datname = current_database() AND (r.rolsuper OR r.rolname = current_user)
), path AS (
    SELECT n.oid, n.nspowner, n.nspacl
      FROM pg_namespace AS n
     WHERE n.nspname IN (SELECT jsonb_array_elements_text(:schemas::jsonb)) AND n.nspname <> 'pg_catalog'
)
SELECT NOT EXISTS (SELECT FROM path WHERE nspowner NOT IN (SELECT oid FROM trusted))
   AND NOT EXISTS (SELECT FROM path, aclexplode(nspacl) AS granted
                    WHERE granted.privilege_type = 'CREATE' AND granted.grantee NOT IN (SELECT oid FROM trusted))
   AND NOT EXISTS (SELECT FROM pg_operator AS o JOIN path ON path.oid = o.oprnamespace
                    WHERE o.oprowner NOT IN (SELECT oid FROM trusted))
   AND NOT EXISTS (SELECT FROM pg_proc AS p JOIN path ON path.oid = p.pronamespace
                    WHERE p.proowner NOT IN (SELECT oid FROM trusted)) AS is_trusted
