-- The documented administrator of a new database.
-- param: password text -- its bcrypt hash
-- effect: write
INSERT INTO public.users (username, email, password, first_name, last_name, role, is_active)
VALUES ('admin', 'admin@iacalls.com', :password, 'Admin', 'Sistema', 'admin', true)
ON CONFLICT (username) DO NOTHING
RETURNING id
