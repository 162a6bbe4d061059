-- What a backup says of the database it is of.
-- effect: read-only
SELECT d.datname::text AS name,
       s.system_identifier::text AS system_identifier,
       d.oid::bigint AS oid,
       pg_encoding_to_char(d.encoding)::text AS encoding,
       d.datcollate::text AS collate,
       d.datctype::text AS ctype,
       -- Columns that came with PostgreSQL 15 and changed their names in 17.
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_get_userbyid(d.datdba)::text AS owner,
       current_setting('server_version') AS server_version,
       pg_is_in_recovery() AS is_replica,
       coalesce(to_regclass('public.schema_migrations') IS NOT NULL, false) AS has_migrations,
       (SELECT count(*) FROM pg_largeobject_metadata) AS large_objects
  FROM pg_database AS d, pg_control_system() AS s
 WHERE d.datname = current_database()
