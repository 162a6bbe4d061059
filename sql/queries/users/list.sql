-- Users with role, state and expiry; never their password.
-- es: Usuarios con rol, estado y vencimiento; nunca su contraseña.
-- param: role text = null in admin, user, agent -- only this role
-- param: inactive boolean = false -- deactivated users too
-- wide: created_at
-- effect: read-only
SELECT id, username, email, role, is_active, time AS expires, created_at
  FROM public.users
 WHERE (:role IS NULL OR role = :role)
   AND (:inactive OR is_active IS NOT false)
 ORDER BY id
