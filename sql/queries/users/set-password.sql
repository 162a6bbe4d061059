-- Store a new password hash for one user.
-- param: username text -- the user
-- param: password text -- the bcrypt hash
-- effect: write
UPDATE public.users SET password = :password
 WHERE username OPERATOR(pg_catalog.=) :username
RETURNING id
