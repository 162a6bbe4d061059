-- The sessions that wait behind one of ours with a lock that reads or writes would have to wait behind in turn.
-- param: sessions text -- the pids of ours, as an array
-- effect: read-only
SELECT b.pid, l.pid AS waiter, coalesce(a.application_name, '') AS application, coalesce(a.usename::text, '') AS role
  FROM pg_locks AS l
  CROSS JOIN unnest(pg_blocking_pids(l.pid)) AS b (pid)
  LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
 WHERE NOT l.granted
   AND l.locktype = 'relation'
   AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
   -- They may wait for ours as long as ours would wait for them.
   AND l.waitstart < clock_timestamp() - (SELECT make_interval(secs => coalesce(nullif(setting::float8, 0), 2000) / 1000)
                                            FROM pg_settings WHERE name = 'lock_timeout')
   AND b.pid = ANY ((:sessions)::integer[])
 ORDER BY b.pid, l.waitstart
