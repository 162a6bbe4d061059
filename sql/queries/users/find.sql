-- The users of a name, as the application would find them.
-- param: username text -- the user
-- effect: read-only
SELECT id FROM public.users WHERE username OPERATOR(pg_catalog.=) :username
