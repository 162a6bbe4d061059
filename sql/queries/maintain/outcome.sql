-- What became of a transaction: committed, aborted, in progress, or null where it is too long ago.
-- param: xid text -- its 64-bit number
-- effect: read-only
SELECT pg_xact_status(:xid::xid8) AS outcome
