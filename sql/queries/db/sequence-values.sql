-- Sequences that have given a value, with their last one, and whether there is none after it: in the sequence itself, or
-- in the type of a column that it feeds.
-- effect: read-only
SELECT quote_ident(s.schemaname) || '.' || quote_ident(s.sequencename) AS name, s.last_value AS value,
       NOT s.cycle AND (s.last_value::numeric + s.increment_by > s.max_value OR s.last_value::numeric + s.increment_by < s.min_value
                        OR coalesce(s.last_value::numeric + s.increment_by > fed.most, false)) AS is_at_end
  FROM pg_sequences AS s
  LEFT JOIN LATERAL (
       SELECT min(CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END)::numeric AS most
         FROM pg_depend AS d
         JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
          AND d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass) AS fed ON true
 WHERE s.last_value IS NOT NULL
 ORDER BY 1
