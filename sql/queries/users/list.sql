-- Users with role, state and expiry; never their password.
-- es: Usuarios con rol, estado y vencimiento; nunca su contraseña.
-- param: role text = null in admin, user, agent -- only this role
-- param: inactive boolean = false -- deactivated users too
-- wide: created_at
-- effect: read-only
SELECT u.id, u.username, u.email, u.role, u.is_active, u.expires,
       -- Stored times without a zone are UTC, as the session is. What is no time cannot be compared.
       CASE WHEN u.type IN ('timestamp without time zone', 'timestamp with time zone', 'date')
            THEN u.expires::text::timestamp <= localtimestamp END AS is_expired,
       u.created_at
  -- In a database without the column users.time the name means the outer one, which is NULL.
  FROM (SELECT NULL::timestamp AS time) AS missing,
       LATERAL (SELECT id, username, email, role, is_active, time AS expires, pg_typeof(time)::text AS type, created_at
                  FROM public.users) AS u
 WHERE (:role IS NULL OR u.role = :role)
   AND (:inactive OR u.is_active IS NOT false)
 ORDER BY u.id
