-- Whether a database of that name exists on this server.
-- param: name text -- the database
-- effect: read-only
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :name) AS present
