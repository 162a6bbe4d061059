-- The number of this transaction.
-- effect: write
SELECT pg_current_xact_id()::text AS xid
