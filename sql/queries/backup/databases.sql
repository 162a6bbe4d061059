-- Databases whose names begin in a certain way.
-- param: prefix text -- how
-- effect: read-only
SELECT datname::text AS name FROM pg_database WHERE starts_with(datname, :prefix) ORDER BY 1
