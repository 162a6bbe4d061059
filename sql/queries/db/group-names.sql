-- The names of all groups, to find a misspelt one.
-- effect: read-only
SELECT DISTINCT name FROM public.groups ORDER BY name
