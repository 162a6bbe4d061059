-- Let other sessions see exactly what this transaction sees.
-- effect: read-only
SELECT pg_export_snapshot() AS snapshot, now() AS taken
