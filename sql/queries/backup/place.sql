-- How a database encodes and orders text, and where it is, as CREATE DATABASE needs it said.
-- param: name text -- the database
-- effect: read-only
SELECT pg_encoding_to_char(encoding)::text AS encoding,
       datcollate::text AS collate,
       datctype::text AS ctype,
       -- Columns that came with PostgreSQL 15 and changed their names in 17.
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale') AS locale,
       pg_get_userbyid(datdba)::text AS owner,
       (SELECT spcname::text FROM pg_tablespace AS t WHERE t.oid = dattablespace) AS tablespace
  FROM pg_database AS d
 WHERE datname = :name
