SELECT 
  phone_number,
  client_name,
  status,
  sent_at,
  received_at
FROM whatsapp_conversations
WHERE status = 'sent'
ORDER BY sent_at DESC;
