-- What keeps this role from deleting rows of a table, changing them, or seeing all of them.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT has_table_privilege(c.oid, 'SELECT') AS may_read,
       has_table_privilege(c.oid, 'DELETE') AS may_delete,
       -- Locking a row takes the right to update it.
       has_any_column_privilege(c.oid, 'UPDATE') AS may_lock,
       has_table_privilege(c.oid, 'INSERT') AS may_insert,
       pg_has_role(c.relowner, 'USAGE') AS is_owner,
       row_security_active(c.oid) AS has_row_security,
       c.relforcerowsecurity AS is_forced,
       c.oid::regclass::text AS quoted,
       (SELECT min(r.rulename::text) FROM pg_rewrite AS r
         WHERE r.ev_class = c.oid AND r.ev_type = '4' AND r.ev_enabled IN ('O', 'A')) AS delete_rule,
       (SELECT min(r.rulename::text) FROM pg_rewrite AS r
         WHERE r.ev_class = c.oid AND r.ev_type IN ('2', '3') AND r.ev_enabled IN ('O', 'A')) AS write_rule
  FROM pg_class AS c
 WHERE c.oid = (:oid)::oid
