-- WhatsApp messages that wait for an answer, the latest first.
-- es: Conversaciones de WhatsApp pendientes, las últimas primero.
-- param: status text = sent in pending, sent, delivered, read, failed, replied -- messages in this state
-- param: since timestamp = null -- only messages sent since then (2025-10-29, today, 7d)
-- param: limit integer = null -- at most this many messages
-- effect: read-only
SELECT phone_number,
       client_name,
       status,
       sent_at,
       received_at
  FROM public.whatsapp_conversations
 WHERE status = :status
   AND (:since IS NULL OR sent_at >= :since)
 ORDER BY sent_at DESC
 LIMIT :limit
