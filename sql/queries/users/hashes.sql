-- Password hashes, administrators first, to find those of the documented default password.
-- param: limit integer -- at most this many users
-- effect: read-only
SELECT username, password::text AS password, count(*) OVER () AS users
  FROM public.users
 WHERE is_active IS NOT false AND password IS NOT NULL
 ORDER BY role = 'admin' DESC NULLS LAST, id
 LIMIT :limit
