-- Dead letters: look, take for replay, delete.

-- name: delete
-- Delete the $4 oldest letters of a selection up to id $3, open or not. $1 ids, $2 reason; null means any.
WITH doomed AS (
    SELECT id FROM dead_letters
    WHERE id <= $3::bigint AND ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR reason = $2)
    ORDER BY id LIMIT $4::integer
    FOR UPDATE  -- in the order of ids, as all who take several: nobody waits in a circle
)
DELETE FROM dead_letters d USING doomed WHERE d.id = doomed.id RETURNING d.id;

-- name: mark_replayed
-- The letters $1 are with the broker now.
UPDATE dead_letters SET replayed_at = clock_timestamp() WHERE id = ANY ($1::bigint[]) RETURNING id;

-- name: newest
-- The newest id: letters that come in while a replay or a purge runs are not part of it.
SELECT coalesce(max(id), 0) AS id FROM dead_letters;

-- name: one
-- One dead letter, whole.
SELECT id, received_at, topic, payload, length(payload) AS payload_bytes, reason, detail, replayed_at
FROM dead_letters WHERE id = $1::bigint;

-- name: page
-- The $5 newest dead letters before id $4, without their payloads; $1 reason, $2 received since,
-- $3: replayed (true), open (false) or both (null).
SELECT id, received_at, topic, length(payload) AS payload_bytes, reason, detail, replayed_at
FROM dead_letters
WHERE id < $4::bigint
  AND ($1::text IS NULL OR reason = $1)
  AND ($2::timestamptz IS NULL OR received_at >= $2)
  AND ($3::boolean IS NULL OR (replayed_at IS NOT NULL) = $3)
ORDER BY id DESC
LIMIT $5::integer;

-- name: summary
-- Open and replayed dead letters per reason, with the first and the last.
SELECT reason, count(*) FILTER (WHERE replayed_at IS NULL) AS open, count(replayed_at) AS replayed,
       min(received_at) AS first_at, max(received_at) AS last_at
FROM dead_letters
GROUP BY reason
ORDER BY 2 DESC, 1;

-- name: take_open
-- The $5 oldest open letters of a selection after id $3 up to id $4, kept from other replays until the end
-- of the transaction. $1 ids, $2 reason; null means any.
SELECT id, topic, payload
FROM dead_letters
WHERE replayed_at IS NULL AND id > $3::bigint AND id <= $4::bigint
  AND ($1::bigint[] IS NULL OR id = ANY ($1))
  AND ($2::text IS NULL OR reason = $2)
ORDER BY id
LIMIT $5::integer
FOR UPDATE SKIP LOCKED;
