SELECT * FROM batch_call_statistics;
