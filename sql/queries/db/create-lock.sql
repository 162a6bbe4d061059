-- Be the only session that makes databases of this name; the lock ends with it.
-- param: prefix text -- how their names begin while they are made
-- param: wait boolean -- wait for another one, instead of answering false
-- effect: write
SELECT CASE WHEN :wait THEN pg_advisory_lock(hashtextextended('iacalls db init ' || :prefix, 0))::text = ''
            ELSE pg_try_advisory_lock(hashtextextended('iacalls db init ' || :prefix, 0)) END AS locked
