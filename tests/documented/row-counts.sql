SELECT 
  schemaname,
  tablename,
  (xpath('/row/cnt/text()', 
    query_to_xml(format('select count(*) as cnt from %I.%I', schemaname, tablename), false, true, '')))[1]::text::int AS row_count
FROM pg_tables
WHERE schemaname = 'public'
ORDER BY tablename;
