-- Move a sequence to where it was when it was dumped, where that is further on than it is; never back.
-- param: name text -- the sequence, quoted as SQL needs it
-- param: value bigint -- its last value
-- param: is_called boolean -- whether that was given
-- effect: write
SELECT setval(seqrelid, :value, :is_called) AS value
  FROM pg_sequence
 WHERE seqrelid = to_regclass(:name)
   AND NOT seqcycle
   AND :value BETWEEN seqmin AND seqmax
   -- Null for one that gave nothing yet.
   AND coalesce(sign(seqincrement) * (:value - pg_sequence_last_value(seqrelid)) > 0,
                sign(seqincrement) * (:value - seqstart) >= 0)
