-- Functions of roles without superuser rights that run as this session's role when rows of a table are written, or
-- (is_planned) when any statement on it is planned.
-- No row unless that role is a superuser. A SECURITY DEFINER function runs as its owner, whoever calls it.
-- param: oid bigint -- the table's oid
-- effect: read-only
WITH code AS (
    SELECT 'pg_trigger'::regclass AS class, t.oid, 'trigger' AS kind, t.tgname::text AS name,
           t.tgtype & 4 > 0 AS on_insert, t.tgtype & 8 > 0 AS on_delete, t.tgtype & 16 > 0 AS on_update,
           t.tgtype & 2 > 0 AS is_before, false AS is_planned
      FROM pg_trigger AS t
     WHERE t.tgrelid = (:oid)::oid AND t.tgenabled IN ('O', 'A')
       -- Before PostgreSQL 15 a partition's copy is marked as internal.
       AND (NOT t.tgisinternal OR (t.tgparentid <> 0 AND t.tgconstraint = 0))
    UNION ALL
    SELECT 'pg_class'::regclass, i.indexrelid, 'index', c.relname, true, false, true, true, true
      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
     WHERE i.indrelid = (:oid)::oid
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid, 'CHECK constraint', k.conname, true, false, true, true,
           -- Looked at to leave a table out of a plan: those of partitions, or of all tables.
           current_setting('constraint_exclusion') = 'on'
           OR EXISTS (SELECT FROM pg_inherits WHERE inhrelid = (:oid)::oid)
      FROM pg_constraint AS k
     WHERE k.contype = 'c'
       AND (k.conrelid = (:oid)::oid
            OR k.contypid IN (SELECT a.atttypid FROM pg_attribute AS a WHERE a.attrelid = (:oid)::oid AND a.attnum > 0))
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid, 'expression of the column', a.attname, true, false, true, true, false
      FROM pg_attrdef AS d JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE d.adrelid = (:oid)::oid
    UNION ALL
    SELECT 'pg_statistic_ext'::regclass, s.oid, 'statistics object', s.stxname, false, false, false, true, true
      FROM pg_statistic_ext AS s
     WHERE s.stxrelid = (:oid)::oid
    UNION ALL
    SELECT 'pg_class'::regclass, p.partrelid, 'partition key of', c.relname, true, false, true, true, true
      FROM pg_partitioned_table AS p JOIN pg_class AS c ON c.oid = p.partrelid
     WHERE p.partrelid IN (SELECT (:oid)::oid UNION SELECT relid FROM pg_partition_ancestors((:oid)::oid))
)
SELECT DISTINCT code.kind, code.name, p.oid::regprocedure::text AS function, f.rolname::text AS owner,
       code.on_insert, code.on_delete, code.on_update, code.is_before, code.is_planned,
       r.rolname::text AS table_owner, r.rolsuper AS has_super_owner
  FROM code
  JOIN pg_depend AS d ON d.classid = code.class AND d.objid = code.oid AND d.refclassid = 'pg_proc'::regclass
  JOIN pg_proc AS p ON p.oid = d.refobjid AND NOT p.prosecdef
  JOIN pg_roles AS f ON f.oid = p.proowner AND NOT f.rolsuper
  JOIN pg_class AS c ON c.oid = (:oid)::oid
  JOIN pg_roles AS r ON r.oid = c.relowner
 WHERE (SELECT me.rolsuper FROM pg_roles AS me WHERE me.rolname = current_user)
 ORDER BY code.kind DESC, code.name, function
