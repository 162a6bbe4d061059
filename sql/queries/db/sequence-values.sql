-- Sequences that have given a value, with their last one.
-- effect: read-only
SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) AS name, last_value AS value
  FROM pg_sequences
 WHERE last_value IS NOT NULL
 ORDER BY 1
