-- The indexes of the users' tables, with a guess of what the B-trees among them would take if they were built anew.
-- A B-tree's guess: its entries as the planner's statistics tell their number, width, NULLs and distinct values;
-- an entry is aligned to 8 bytes behind a header of 8 and has a line pointer of 4; equal entries share one, in
-- pieces of a sixth of a page, with 6 bytes for each row (PostgreSQL 13); a page holds 8152 bytes of which
-- fillfactor says how many are filled. Without statistics, and for other methods, there is no guess.
-- bytes: size, guess
-- effect: read-only
WITH locked AS (
    SELECT relation
      FROM pg_locks
     WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
), chosen AS (
    SELECT i.*, x.relname AS name, x.relkind, x.reltuples, x.relispartition, x.reltablespace, x.relam,
           coalesce(u.oid, t.oid) AS owner_table, coalesce(u.relname, t.relname) AS table_name,
           coalesce(u.relowner, t.relowner) AS relowner, coalesce(un.nspname, tn.nspname) AS table_schema,
           tn.nspname AS schema, t.relname AS stored_table, t.relkind AS table_kind, u.oid IS NOT NULL AS is_toast,
           am.amname AS method,
           coalesce((SELECT option_value::numeric FROM pg_options_to_table(x.reloptions)
                      WHERE option_name = 'fillfactor'), 90) / 100 AS fillfactor
      FROM pg_index AS i
      JOIN pg_class AS x ON x.oid = i.indexrelid
      JOIN pg_am AS am ON am.oid = x.relam
      JOIN pg_class AS t ON t.oid = i.indrelid
      JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
      -- The table that a TOAST table belongs to.
      LEFT JOIN pg_class AS u ON t.relkind = 't' AND u.reltoastrelid = t.oid
      LEFT JOIN pg_namespace AS un ON un.oid = u.relnamespace
     WHERE x.relpersistence <> 't'
       AND coalesce(un.nspname, tn.nspname) !~ '^pg_'
       AND coalesce(un.nspname, tn.nspname) <> 'information_schema'
), keys AS (
    SELECT c.indexrelid,
           count(*) AS columns,
           count(s.avg_width) AS known,
           -- Of a single column, entries with NULL are counted apart.
           sum(CASE WHEN c.indnkeyatts = 1 THEN s.avg_width ELSE (1 - s.null_frac) * s.avg_width END) AS width,
           max(s.null_frac) AS nulls,
           -- Of several columns the combinations, of which there are no more than rows.
           exp(least(sum(ln(greatest(CASE WHEN s.n_distinct < 0 THEN -s.n_distinct * greatest(c.reltuples, 1)
                                          ELSE s.n_distinct END, 1)::float8)), 300)) AS distincts,
           bool_and(EXISTS (SELECT FROM pg_opclass AS o
                              JOIN pg_amproc AS p ON p.amprocfamily = o.opcfamily AND p.amproclefttype = o.opcintype
                             WHERE o.oid = c.indclass[k.number - 1] AND p.amprocnum = 4)) AS can_share
      FROM chosen AS c
      CROSS JOIN unnest(c.indkey::int2[]) WITH ORDINALITY AS k (attnum, number)
      LEFT JOIN pg_attribute AS a ON k.attnum <> 0 AND a.attrelid = c.indrelid AND a.attnum = k.attnum
      LEFT JOIN pg_attribute AS e ON k.attnum = 0 AND e.attrelid = c.indexrelid AND e.attnum = k.number
      LEFT JOIN pg_stats AS s ON s.schemaname = c.schema AND NOT s.inherited
                             AND s.tablename = CASE WHEN k.attnum = 0 THEN c.name ELSE c.stored_table END
                             AND s.attname = coalesce(a.attname, e.attname)
     WHERE c.method = 'btree'
     GROUP BY c.indexrelid
), entries AS (
    SELECT c.indexrelid,
           CASE WHEN NOT c.indisunique AND k.can_share AND c.indnatts = c.indnkeyatts
                THEN greatest(c.reltuples * (1 - CASE WHEN k.columns = 1 THEN k.nulls ELSE 0 END), 0)
           END AS shareable,
           c.reltuples AS rows,
           least(k.distincts, greatest(c.reltuples, 1)) AS distincts,
           -- What is known of a column's values is known of the whole table: of a part of it they repeat less often.
           CASE WHEN c.indpred IS NULL THEN 1.5 ELSE 10 END AS repeated,
           greatest(ceil((8 + CASE WHEN k.nulls > 0 AND k.columns > 1 THEN 8 ELSE 0 END + k.width) / 8) * 8, 16) + 4
               AS entry
      FROM chosen AS c
      JOIN keys AS k USING (indexrelid)
     WHERE k.columns = k.known AND c.reltuples >= 0
), volumes AS (
    SELECT indexrelid, entry,
           CASE WHEN shareable IS NULL THEN rows * entry
                WHEN shareable < repeated * distincts THEN shareable * entry + (rows - shareable) * 6.1
                ELSE least(shareable * entry,
                           distincts * greatest(ceil(6 * shareable / distincts / 1330), 1) * entry + 6 * shareable)
                     + (rows - shareable) * 6.1
           END AS bytes
      FROM entries
), guesses AS (
    SELECT v.indexrelid, ceil(v.bytes / (8152 * c.fillfactor - v.entry)) AS leaves, v.entry
      FROM volumes AS v
      JOIN chosen AS c USING (indexrelid)
)
SELECT c.indexrelid::bigint AS oid,
       c.schema::text AS schema,
       c.name::text AS name,
       c.owner_table::bigint AS table_oid,
       c.table_schema::text AS table_schema,
       c.table_name::text AS table_name,
       c.table_kind::text AS table_kind,
       c.is_toast,
       c.relkind = 'I' AS is_partitioned,
       CASE WHEN c.relispartition THEN (SELECT inhparent::bigint FROM pg_inherits WHERE inhrelid = c.indexrelid) END
           AS parent,
       -- A TOAST table's indexes are named with their schema, which only superusers may use.
       (pg_has_role(c.relowner, 'USAGE')
        OR CASE WHEN current_setting('server_version_num')::integer >= 170000
                THEN has_table_privilege(c.owner_table, 'MAINTAIN') ELSE false END)
       AND has_schema_privilege(c.schema, 'USAGE') AS is_allowed,
       c.method::text AS method,
       coalesce(nullif(c.reltablespace, 0), d.dattablespace)::bigint AS tablespace,
       c.indisvalid AS is_valid,
       c.indisexclusion AS is_exclusion,
       c.name ~ '_cc(new|old)[0-9]*$' AND NOT c.indisvalid AND c.relkind = 'i' AS is_called_leftover,
       -- A leftover is the copy of another index of that table, which is valid or itself no leftover.
       EXISTS (SELECT FROM chosen AS v
                WHERE v.indrelid = c.indrelid AND v.indexrelid <> c.indexrelid AND v.relam = c.relam
                  AND (v.indisvalid OR v.name !~ '_cc(new|old)[0-9]*$')
                  AND starts_with(v.name, regexp_replace(c.name, '_cc(new|old)[0-9]*$', ''))
                  AND v.indnkeyatts = c.indnkeyatts AND v.indkey::text = c.indkey::text
                  AND v.indclass::text = c.indclass::text AND v.indcollation::text = c.indcollation::text
                  AND v.indoption::text = c.indoption::text
                  AND pg_get_expr(v.indexprs, v.indrelid) IS NOT DISTINCT FROM pg_get_expr(c.indexprs, c.indrelid)
                  AND pg_get_expr(v.indpred, v.indrelid) IS NOT DISTINCT FROM pg_get_expr(c.indpred, c.indrelid))
           AS has_twin,
       -- Who builds an index concurrently holds such a lock on it all the while.
       EXISTS (SELECT FROM pg_locks AS l
                WHERE l.relation = c.indexrelid AND l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS is_being_built,
       CASE WHEN c.relkind = 'i' AND NOT EXISTS (SELECT FROM locked WHERE relation = c.indexrelid)
            THEN pg_relation_size(c.indexrelid) END AS size,
       current_setting('block_size')::bigint AS page_size,
       -- Upper pages hold an entry for each lower one, and one page describes the whole.
       (8192 * (g.leaves + ceil(g.leaves * g.entry / 5700) + 1))::bigint AS guess
  FROM chosen AS c
  JOIN pg_database AS d ON d.datname = current_database()
  LEFT JOIN guesses AS g USING (indexrelid)
 ORDER BY c.table_schema, c.table_name, c.name
