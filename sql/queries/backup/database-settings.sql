-- The statements that give a new database what belongs to another one itself: owner, settings, rights, comment.
-- param: name text -- the database that has them
-- param: new text -- the one to get them
-- effect: read-only
WITH old AS (SELECT * FROM pg_database WHERE datname = :name)
SELECT statement
  FROM (
    SELECT 1 AS place, format('ALTER DATABASE %I CONNECTION LIMIT %s', :new, datconnlimit) AS statement
      FROM old WHERE datconnlimit <> -1
    UNION ALL
    SELECT 2, format('COMMENT ON DATABASE %I IS %L', :new, shobj_description(oid, 'pg_database'))
      FROM old WHERE shobj_description(oid, 'pg_database') IS NOT NULL
    UNION ALL
    SELECT 3, format(CASE WHEN setrole = 0 THEN 'ALTER DATABASE %2$I SET %3$I TO %4$s'
                          ELSE 'ALTER ROLE %1$I IN DATABASE %2$I SET %3$I TO %4$s' END,
                     pg_get_userbyid(setrole), :new, split_part(entry, '=', 1),
                     -- Lists of names are stored quoted, the others as they are.
                     CASE WHEN entry LIKE '%=""' THEN quote_literal('')
                          WHEN split_part(entry, '=', 1) IN ('search_path', 'temp_tablespaces', 'local_preload_libraries',
                                                             'session_preload_libraries')
                          THEN substr(entry, strpos(entry, '=') + 1)
                          ELSE quote_literal(substr(entry, strpos(entry, '=') + 1)) END)
      FROM old JOIN pg_db_role_setting ON setdatabase = old.oid, unnest(setconfig) AS entry
    UNION ALL
    SELECT 4, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :new) FROM old WHERE datacl IS NOT NULL
    UNION ALL
    SELECT 5, format('GRANT %s ON DATABASE %I TO %s%s', a.privilege_type, :new,
                     CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                     CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM old, aclexplode(datacl) AS a
    UNION ALL
    -- First: rights are granted in the owner's name.
    SELECT 0, format('ALTER DATABASE %I OWNER TO %I', :new, pg_get_userbyid(datdba))
      FROM old WHERE pg_get_userbyid(datdba) <> current_user
  ) AS statements
 ORDER BY place, statement
