-- The campaigns in an open state in which nothing happened for long, and that have no running batch, the oldest first.
-- place: name -- a campaign's name for people
-- place: latest, recent -- the latest of a campaign's times, and whether one of them is recent
-- place: open, batches -- whether a campaign's state is open, and whether it has a running batch
SELECT campaign.id::pg_catalog.text, {name}, campaign.batch_status::pg_catalog.text,
       pg_catalog.to_char({latest}, 'YYYY-MM-DD HH24:MI'), NULL
  FROM public.groups AS campaign
 WHERE {open} AND NOT {recent} AND {latest} IS NOT NULL AND NOT {batches}
 ORDER BY {latest}, campaign.id
