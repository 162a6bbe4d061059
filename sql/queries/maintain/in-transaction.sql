-- A session, if it is in a transaction now; of others' sessions the time may be hidden, and the state too.
-- param: pid integer -- the number of its server process
-- effect: read-only
SELECT pid
  FROM pg_stat_activity
 WHERE pid = :pid AND (xact_start IS NOT NULL OR state IS NULL)
