-- The tables and materialized views of the users, with what tells how much they need maintenance.
-- bytes: size
-- effect: read-only
WITH locked AS (
    -- Whose sizes cannot be read now: asking for one takes a lock, and would wait behind these.
    SELECT coalesce(i.indrelid, l.relation) AS relation
      FROM pg_locks AS l
      LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
     WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
), limits AS (
    SELECT current_setting('autovacuum_freeze_max_age')::numeric AS transactions,
           current_setting('autovacuum_multixact_freeze_max_age')::numeric AS multixacts,
           current_setting('server_version_num')::integer >= 170000 AS has_maintain
)
SELECT c.oid::bigint AS oid,
       n.nspname::text AS schema,
       c.relname::text AS name,
       c.relkind::text AS kind,
       CASE WHEN c.relispartition THEN (SELECT p.inhparent::bigint FROM pg_inherits AS p WHERE p.inhrelid = c.oid) END
           AS parent,
       (pg_has_role(c.relowner, 'USAGE') OR pg_has_role(d.datdba, 'USAGE')
        OR CASE WHEN limits.has_maintain THEN has_table_privilege(c.oid, 'MAINTAIN') ELSE false END)
       AND has_schema_privilege(n.oid, 'USAGE') AS is_allowed,
       CASE WHEN c.relkind <> 'p' AND NOT EXISTS (SELECT FROM locked WHERE relation IN (c.oid, c.reltoastrelid))
            THEN pg_total_relation_size(c.oid) END AS size,
       coalesce(nullif(c.reltablespace, 0), d.dattablespace)::bigint AS tablespace,
       c.reltuples::bigint AS estimated_rows,
       coalesce(s.n_live_tup, 0) AS live_rows,
       coalesce(s.n_dead_tup, 0) AS dead_rows,
       coalesce(t.n_live_tup, 0) AS live_chunks,
       coalesce(t.n_dead_tup, 0) AS dead_chunks,
       coalesce(s.n_ins_since_vacuum, 0) AS inserted_rows,
       coalesce(s.n_mod_since_analyze, 0) AS changed_rows,
       greatest(s.last_vacuum, s.last_autovacuum) IS NOT NULL AS is_vacuumed,
       to_char(greatest(s.last_analyze, s.last_autoanalyze), 'YYYY-MM-DD HH24:MI:SS') AS analyzed,
       -- Of the age at which the server vacuums by force; 0 for what holds no rows itself.
       CASE WHEN c.relkind = 'p' THEN 0
            ELSE round(greatest(age(c.relfrozenxid), age(nullif(o.relfrozenxid, '0'))) / limits.transactions, 3)
       END::float8 AS transaction_age,
       CASE WHEN c.relkind = 'p' THEN 0
            ELSE round(greatest(mxid_age(c.relminmxid), mxid_age(nullif(o.relminmxid, '0'))) / limits.multixacts, 3)
       END::float8 AS multixact_age
  FROM pg_class AS c
  CROSS JOIN limits
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_database AS d ON d.datname = current_database()
  LEFT JOIN pg_class AS o ON o.oid = c.reltoastrelid
  LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
  LEFT JOIN pg_stat_all_tables AS t ON t.relid = c.reltoastrelid
 WHERE c.relkind IN ('r', 'm', 'p')
   AND c.relpersistence <> 't'
   AND n.nspname !~ '^pg_'
   AND n.nspname <> 'information_schema'
   -- Neither can a materialized view be vacuumed to any use that holds no rows yet.
   AND c.relispopulated
 ORDER BY n.nspname, c.relname
