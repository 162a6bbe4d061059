-- What keeps a routine or view from acting with the privileges of its new owner, whoever uses it.
-- param: name text -- the routine with the types of its arguments, or the view, as SQL writes it
-- param: is_routine boolean -- whether it is a routine
-- effect: read-only
SELECT 'ALTER ROUTINE ' || p.oid::regprocedure || ' SECURITY INVOKER' AS statement,
       'made SECURITY INVOKER' AS effect
  FROM pg_proc AS p
 WHERE :is_routine AND p.oid = to_regprocedure(:name) AND p.prosecdef
UNION ALL
SELECT CASE WHEN current_setting('server_version_num')::int >= 150000
            THEN 'ALTER VIEW ' || c.oid::regclass || ' SET (security_invoker = true)'
            ELSE 'REVOKE ALL ON ' || c.oid::regclass || ' FROM '
                 || coalesce((SELECT string_agg(DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', ')
                                FROM aclexplode(c.relacl) AS a WHERE a.grantee <> c.relowner), 'PUBLIC') END,
       CASE WHEN current_setting('server_version_num')::int >= 150000
            THEN 'made a view with security_invoker' ELSE 'its privileges left out' END
  FROM pg_class AS c
 WHERE NOT :is_routine AND c.oid = to_regclass(:name) AND c.relkind = 'v'
