-- Whether tables of this database can be spread over several servers, where rows have no stable place.
-- effect: read-only
SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS is_distributed
