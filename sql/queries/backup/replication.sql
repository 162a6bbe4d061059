-- Logical replication slots and subscriptions of a database, which stay with it when it is renamed.
-- param: name text -- the database
-- effect: read-only
SELECT 'logical slot' AS kind, slot_name::text AS name FROM pg_replication_slots WHERE database = :name
UNION ALL
SELECT 'subscription', subname::text
  FROM pg_subscription JOIN pg_database ON pg_database.oid = subdbid
 WHERE datname = :name AND subenabled
 ORDER BY 1, 2
