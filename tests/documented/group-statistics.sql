SELECT * FROM group_statistics;
