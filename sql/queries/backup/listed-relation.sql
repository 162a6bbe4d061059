-- Whether a relation exists that pg_restore lists as schema, name and owner with spaces between.
-- param: listed text -- how it is listed
-- effect: read-only
SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE starts_with(:listed, n.nspname || ' ' || c.relname || ' ')) AS is_there
