-- The server's time.
-- effect: read-only
SELECT clock_timestamp() AS now
