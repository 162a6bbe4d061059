-- Count the live rows that equal staged ones.
-- place: counts -- the table of the counts
-- place: table, staged -- the table itself, and the staging table
-- place: live, row -- the values of a live row t, a staged row c as one text
INSERT INTO {counts}
SELECT {live}, pg_catalog.count(*) FROM ONLY {table} AS t
 WHERE {live} OPERATOR(pg_catalog.=) ANY (SELECT {row} FROM {staged} AS c) GROUP BY 1
