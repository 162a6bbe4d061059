-- Number the staged rows among equal ones, those of earlier transactions included.
-- place: staged, number -- the staging table, and its column for the number
-- place: row -- the values of a staged row c as one text
-- place: seen -- the table of rows that were staged before, with their counts
UPDATE {staged} AS u SET {number} = n.number OPERATOR(pg_catalog.+) n.earlier FROM (
    SELECT c.ctid AS tid, pg_catalog.row_number() OVER (PARTITION BY {row}) AS number,
           coalesce((SELECT pg_catalog.sum(s.rows) FROM {seen} AS s
                      WHERE s.content OPERATOR(pg_catalog.=) {row}), 0)::pg_catalog.int8 AS earlier
      FROM {staged} AS c) AS n
 WHERE u.ctid OPERATOR(pg_catalog.=) n.tid
