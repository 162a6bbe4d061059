-- The subscriptions of the session's database, and the logical slots that keep it from being dropped.
-- effect: read-only
SELECT 'subscription' AS kind, subname::text AS name
  FROM pg_subscription
 WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL
SELECT 'slot', slot_name::text
  FROM pg_replication_slots
 WHERE database = current_database() AND NOT active
 ORDER BY 1, 2
