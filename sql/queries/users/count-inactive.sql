-- How many users are deactivated.
-- param: role text = null in admin, user, agent -- only of this role
-- effect: read-only
SELECT count(*) AS users
  FROM public.users
 WHERE is_active IS false
   AND (:role IS NULL OR role = :role)
