-- Whether the planner may run functions of other roles than this one and superusers for a table: it evaluates the
-- expressions of indexes, statistics and partition keys, and CHECK constraints, as the role of the session.
-- param: schema text = null -- the table's schema
-- param: name text = null -- the table; those that inherit from it count too; all tables where it is null
-- effect: read-only
WITH RECURSIVE tree AS (
    SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE :name IS NULL AND c.relkind IN ('r', 'p', 'm', 'f') OR n.nspname = :schema AND c.relname = :name
     UNION
    SELECT CASE WHEN i.inhparent = tree.oid THEN i.inhrelid ELSE i.inhparent END
      FROM tree JOIN pg_inherits AS i ON tree.oid IN (i.inhparent, i.inhrelid)
), code AS (
    SELECT d.refclassid, d.refobjid
      FROM tree
      JOIN pg_statistic_ext AS s ON s.stxrelid = tree.oid
      JOIN pg_depend AS d ON d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid
    UNION
    SELECT d.refclassid, d.refobjid
      FROM tree
      JOIN pg_partitioned_table AS p ON p.partrelid = tree.oid
      JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = tree.oid
    UNION
    SELECT d.refclassid, d.refobjid
      FROM tree
      JOIN pg_index AS i ON i.indrelid = tree.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
      JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
    UNION
    SELECT d.refclassid, d.refobjid
      FROM tree
      JOIN pg_constraint AS k ON k.conrelid = tree.oid AND k.contype = 'c'
      JOIN pg_depend AS d ON d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
), owner AS (
    SELECT p.proowner AS oid FROM code JOIN pg_proc AS p ON code.refclassid = 'pg_proc'::regclass AND p.oid = code.refobjid
    UNION
    SELECT unnest(ARRAY[o.oprowner, p.proowner])
      FROM code
      JOIN pg_operator AS o ON code.refclassid = 'pg_operator'::regclass AND o.oid = code.refobjid
      JOIN pg_proc AS p ON p.oid = o.oprcode
    -- A type's input function, and a domain's constraints.
    UNION
    SELECT t.typowner FROM code JOIN pg_type AS t ON code.refclassid = 'pg_type'::regclass AND t.oid = code.refobjid
)
SELECT EXISTS (SELECT FROM owner JOIN pg_roles AS r USING (oid)
                WHERE NOT r.rolsuper AND r.rolname <> current_user) AS is_foreign
