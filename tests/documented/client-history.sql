SELECT * FROM client_call_history WHERE client_id = 1;
