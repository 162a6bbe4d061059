-- The objects that the open transaction has created, as ALTER … OWNER TO names them, tables first.
-- effect: read-only
SELECT CASE o.type WHEN 'composite type' THEN 'TYPE' WHEN 'statistics object' THEN 'STATISTICS'
                   WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER' ELSE upper(o.type) END
       || ' ' || o.identity AS object
  FROM (SELECT tableoid, oid, xmin, 1 AS place FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
         UNION ALL
        SELECT tableoid, oid, xmin, 2 FROM pg_type AS t
         WHERE typelem = 0 AND typtype IN ('d', 'e', 'b', 'r')
            OR typtype = 'c' AND EXISTS (SELECT FROM pg_class WHERE pg_class.oid = t.typrelid AND relkind = 'c')
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_namespace
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_proc
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_operator
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_opclass
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_opfamily
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_collation
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_conversion
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_ts_dict
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_ts_config
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_language
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_foreign_data_wrapper
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_foreign_server
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_statistic_ext
         UNION ALL SELECT tableoid, oid, xmin, 3 FROM pg_publication) AS made,
       pg_identify_object(made.tableoid, made.oid, 0) AS o
 WHERE made.xmin = pg_current_xact_id_if_assigned()::xid
   -- What belongs to an extension is its owner's.
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = made.tableoid AND d.objid = made.oid AND d.deptype = 'e')
 ORDER BY made.place, 1
