-- The folder of a tablespace, as far as this role may know it.
-- param: tablespace bigint -- its oid
-- effect: read-only
SELECT coalesce(nullif(pg_tablespace_location((:tablespace)::oid), ''),
                (SELECT setting FROM pg_settings WHERE name = 'data_directory')) AS folder
