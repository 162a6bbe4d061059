-- How many pages a table has now.
-- param: oid bigint -- the table's oid
-- effect: read-only
SELECT pg_relation_size((:oid)::oid) / current_setting('block_size')::bigint AS pages
