-- Note the TID of the live row of each staged one that is like no other, of a table without a primary key.
-- place: staged, tid -- the staging table, and its column for the TID
-- place: table -- the table itself
-- place: live, row, other -- the values of a live row t, a staged row c, a staged row o as one text
UPDATE {staged} AS c SET {tid} = m.tid FROM (
    SELECT {live} AS content, pg_catalog.min(t.ctid) AS tid FROM ONLY {table} AS t
     WHERE {live} OPERATOR(pg_catalog.=) ANY (SELECT {row} FROM {staged} AS c)
     GROUP BY 1 HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) 1) AS m
 WHERE m.content OPERATOR(pg_catalog.=) {row}
   AND (SELECT pg_catalog.count(*) FROM {staged} AS o WHERE {other} OPERATOR(pg_catalog.=) {row})
       OPERATOR(pg_catalog.=) 1
