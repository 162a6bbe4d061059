-- A client by id, and whether it is active.
-- param: client_id integer -- the client's id
-- effect: read-only
SELECT is_active FROM public.clients WHERE id = :client_id
