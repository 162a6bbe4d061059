-- The search_path that the session had before iacalls set its own: that of the application's sessions.
-- effect: read-only
SELECT CASE WHEN reset_val = '' THEN 'pg_temp'
            WHEN reset_val ~ '\mpg_temp\M' THEN reset_val
            ELSE reset_val || ', pg_temp' END AS path
  FROM pg_settings
 WHERE name = 'search_path'
