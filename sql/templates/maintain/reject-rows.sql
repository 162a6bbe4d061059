-- Note why staged rows cannot be put back.
-- place: staged, reason -- the staging table, and its column for the reason
-- place: reasons -- the reason of a staged row c, or NULL
UPDATE {staged} AS u SET {reason} = r.reason FROM (
    SELECT c.ctid AS tid, {reasons} AS reason FROM {staged} AS c WHERE c.{reason} IS NULL) AS r
 WHERE u.ctid OPERATOR(pg_catalog.=) r.tid AND r.reason IS NOT NULL
