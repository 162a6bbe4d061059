-- The one function of the extension pgcrypto that PostgreSQL has itself, for a restore test on a server without it.
CREATE FUNCTION gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.gen_random_uuid()';
