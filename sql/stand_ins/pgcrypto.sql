-- Functions of the extension pgcrypto that PostgreSQL has itself, or can make of its own, for a restore test without it.
-- SHA-1, crypt, hmac and encryption are not among them.
CREATE FUNCTION gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE AS 'SELECT pg_catalog.gen_random_uuid()';
CREATE FUNCTION gen_random_bytes(count integer) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.substring(pg_catalog.string_agg(pg_catalog.uuid_send(pg_catalog.gen_random_uuid()), ''), 1, count)
      FROM pg_catalog.generate_series(1, count / 16 + 1)
$$;
CREATE FUNCTION digest(data bytea, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE pg_catalog.lower(type) WHEN 'md5' THEN pg_catalog.decode(pg_catalog.md5(data), 'hex')
                WHEN 'sha224' THEN pg_catalog.sha224(data) WHEN 'sha256' THEN pg_catalog.sha256(data)
                WHEN 'sha384' THEN pg_catalog.sha384(data) WHEN 'sha512' THEN pg_catalog.sha512(data) END
$$;
CREATE FUNCTION digest(data text, type text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE pg_catalog.lower(type) WHEN 'md5' THEN pg_catalog.decode(pg_catalog.md5(data), 'hex')
                WHEN 'sha224' THEN pg_catalog.sha224(pg_catalog.convert_to(data, pg_catalog.getdatabaseencoding()))
                WHEN 'sha256' THEN pg_catalog.sha256(pg_catalog.convert_to(data, pg_catalog.getdatabaseencoding()))
                WHEN 'sha384' THEN pg_catalog.sha384(pg_catalog.convert_to(data, pg_catalog.getdatabaseencoding()))
                WHEN 'sha512' THEN pg_catalog.sha512(pg_catalog.convert_to(data, pg_catalog.getdatabaseencoding())) END
$$;
