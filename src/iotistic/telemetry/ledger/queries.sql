-- The delivery ledger: fold, look, ask, tell.

-- name: fold
-- Add up to $1 batches that sinks noted to the epochs; $2 false: not while somebody else does.
SELECT ledger_fold($1::integer, $2::boolean) AS folded;

-- name: heal
-- Count what was filled in epochs that changed since $1 (null: all); one row at least, with the time of this look.
SELECT looked.at, h.missing_s, h.messages
FROM (SELECT clock_timestamp() AS at) looked LEFT JOIN LATERAL ledger_heal($1::timestamptz) h ON true;

-- name: watch
-- Look at every gap; $1 is how long messages may be missing.
SELECT ledger_watch($1::interval) AS with_gaps;

-- name: waiting
-- How many batches wait to be added up; counting stops at a thousand.
SELECT count(*) AS batches FROM (SELECT FROM ledger_log LIMIT 1000) t;

-- name: totals
-- Sums over all epochs of a selection: $1 senders (null: all), active between $2 and $3, $4 only with gaps.
SELECT count(DISTINCT source) AS senders, count(*) AS epochs, coalesce(sum(highest), 0) AS sent,
       coalesce(sum(stored), 0) AS stored, coalesce(sum(highest - stored), 0) AS missing,
       coalesce(sum(messages - stored - untold), 0) AS duplicates,
       coalesce(sum(healed + coalesce((SELECT sum(ledger_count(n.ranges * e.received)) FROM ledger_noted n
                                       WHERE (n.source, n.epoch) = (e.source, e.epoch)), 0)), 0) AS healed
FROM ledger_epochs e
WHERE ($1::text[] IS NULL OR source = ANY ($1))
    AND ($2::timestamptz IS NULL OR last_at >= $2) AND ($3::timestamptz IS NULL OR first_at < $3)
    AND (NOT $4::boolean OR highest > stored);

-- name: healing
-- How long healed messages of the same selection had been missing, by quarters of a factor of two.
SELECT t.bucket, sum(t.messages)::bigint AS messages, extract(epoch FROM max(t.longest))::float8 AS longest_s
FROM ledger_healing t JOIN ledger_epochs e USING (source, epoch)
WHERE ($1::text[] IS NULL OR t.source = ANY ($1))
    AND ($2::timestamptz IS NULL OR e.last_at >= $2) AND ($3::timestamptz IS NULL OR e.first_at < $3)
    AND (NOT $4::boolean OR e.highest > e.stored)
GROUP BY t.bucket ORDER BY t.bucket;

-- name: healing_of
-- The same of some epochs: arrays of sender and epoch.
SELECT t.source, t.epoch, t.bucket, t.messages, extract(epoch FROM t.longest)::float8 AS longest_s
FROM unnest($1::text[], $2::bigint[]) AS k (source, epoch) JOIN ledger_healing t USING (source, epoch)
ORDER BY t.source, t.epoch, t.bucket;

-- name: page
-- Epochs of the same selection behind sender $5, epoch $6, at most $7.
SELECT e.source, e.epoch, e.highest AS sent, e.stored, e.highest - e.stored AS missing,
       e.messages - e.stored - e.untold AS duplicates, e.untold, e.floor,
       e.healed + coalesce((SELECT sum(ledger_count(n.ranges * e.received)) FROM ledger_noted n
                            WHERE (n.source, n.epoch) = (e.source, e.epoch)), 0) AS healed,
       e.first_at, e.last_at, coalesce(g.asked, 0) AS asked, g.answered_at
FROM ledger_epochs e LEFT JOIN ledger_gaps g USING (source, epoch)
WHERE ($1::text[] IS NULL OR e.source = ANY ($1))
    AND ($2::timestamptz IS NULL OR e.last_at >= $2) AND ($3::timestamptz IS NULL OR e.first_at < $3)
    AND (NOT $4::boolean OR e.highest > e.stored)
    AND (e.source, e.epoch) > ($5::text, $6::bigint)
ORDER BY e.source, e.epoch LIMIT $7::integer;

-- name: gaps
-- What is missing of some epochs (arrays of sender and epoch) by what is known of it, at most $3 ranges of each
-- kind, since when it has been, and when it had come if it came in order.
SELECT e.source, e.epoch, x.kind, lower(x.r) AS first, upper(x.r) - 1 AS last, x.since, x.came_by
FROM unnest($1::text[], $2::bigint[]) AS k (source, epoch)
JOIN ledger_epochs e USING (source, epoch)
LEFT JOIN ledger_gaps g USING (source, epoch)
CROSS JOIN LATERAL (SELECT ledger_missing(e.received, e.floor, e.highest) AS missing) m
CROSS JOIN LATERAL (
    (SELECT 'young' AS kind, r, CASE WHEN g.suspected @> r THEN g.suspected_at END AS since, g.suspected_at AS came_by
     FROM unnest(m.missing - coalesce(g.noted, '{}')) r LIMIT $3)
    UNION ALL
    (SELECT 'gone', r, n.missing_since, n.came_by FROM ledger_noted n, unnest(n.ranges * m.missing * g.gone) r
     WHERE (n.source, n.epoch) = (e.source, e.epoch) ORDER BY r LIMIT $3)
    UNION ALL
    (SELECT 'waiting', r, n.missing_since, n.came_by FROM ledger_noted n, unnest(n.ranges * m.missing * g.waiting - g.gone) r
     WHERE (n.source, n.epoch) = (e.source, e.epoch) ORDER BY r LIMIT $3)
    UNION ALL
    (SELECT 'again', r, n.missing_since, n.came_by
     FROM ledger_noted n, unnest(n.ranges * m.missing * g.again - (g.gone + g.waiting)) r
     WHERE (n.source, n.epoch) = (e.source, e.epoch) ORDER BY r LIMIT $3)
    UNION ALL
    (SELECT 'unanswered', r, n.missing_since, n.came_by
     FROM ledger_noted n, unnest(n.ranges * m.missing * g.noted - (g.again + g.gone + g.waiting)) r
     WHERE (n.source, n.epoch) = (e.source, e.epoch) ORDER BY r LIMIT $3)
) x
WHERE e.highest > e.stored
ORDER BY e.source, e.epoch, x.r;

-- name: senders
-- When some senders were last heard of, and what they keep back.
SELECT e.source, max(e.last_at) AS last_at, max(b.waiting) AS waiting, max(b.asked_at) AS asked_at
FROM ledger_epochs e LEFT JOIN ledger_backlogs b USING (source)
WHERE e.source = ANY ($1::text[]) GROUP BY e.source;

-- name: stages
-- How far the stages before the database are.
SELECT stage, part, looked_at, waiting, seen_at, clear_until, clock_timestamp() AS now
FROM ledger_stages ORDER BY stage, part;

-- name: loads
-- How the processes that store are doing, of those that said so within the last ten seconds.
SELECT process, lane, waiting, away, reported_at FROM stage_loads
WHERE reported_at > clock_timestamp() - interval '10 seconds' ORDER BY lane DESC, process;

-- name: note_stages
-- Note looks at parts of stages: JSON of stage, part, looked_at, waiting, seen_at, clear_until (seconds). What was
-- clear once stays so, whoever looked.
INSERT INTO ledger_stages AS s (stage, part, looked_at, waiting, seen_at, clear_until)
SELECT l.stage, l.part, to_timestamp(l.looked_at), l.waiting,
       ARRAY(SELECT to_timestamp(t) FROM unnest(l.seen_at) WITH ORDINALITY AS u (t, n) ORDER BY n),
       ARRAY(SELECT to_timestamp(t) FROM unnest(l.clear_until) WITH ORDINALITY AS u (t, n) ORDER BY n)
FROM jsonb_to_recordset($1::jsonb) AS l (stage text, part text, looked_at float8, waiting bigint,
                                         seen_at float8[], clear_until float8[])
ORDER BY l.stage, l.part  -- several look: in one order they never wait in a circle
ON CONFLICT (stage, part) DO UPDATE SET
    looked_at = excluded.looked_at, waiting = excluded.waiting,
    seen_at = CASE WHEN excluded.seen_at = '{}' THEN s.seen_at ELSE excluded.seen_at END,
    clear_until = CASE WHEN excluded.seen_at = '{}' THEN s.clear_until ELSE excluded.clear_until END;

-- name: note_backlogs
-- Note what senders keep back: arrays of sender, messages and how many seconds ago they said so. Only of senders
-- that the ledger knows. One that keeps nothing back any more stays: what it sent last came by then.
INSERT INTO ledger_backlogs AS b (source, waiting, asked_at)
SELECT s.source, s.waiting, clock_timestamp() - s.age_s * interval '1 second'
FROM unnest($1::text[], $2::bigint[], $3::float8[]) AS s (source, waiting, age_s)
WHERE EXISTS (SELECT FROM ledger_epochs e WHERE e.source = s.source)
ORDER BY s.source
ON CONFLICT (source) DO UPDATE SET waiting = excluded.waiting, asked_at = excluded.asked_at;

-- name: dropped
-- Epochs of some senders ($1, null: all) that were dropped, and why.
SELECT source, reason, epochs, sent, stored, last_at FROM ledger_dropped
WHERE $1::text[] IS NULL OR source = ANY ($1) ORDER BY source, reason LIMIT 1000;

-- name: names
-- Devices that senders are: arrays of macs, uuids and keys.
SELECT id, devicename AS name, macaddress AS mac, uuid::text AS uuid, externalkey AS key FROM devices
WHERE macaddress = ANY ($1::text[]) OR uuid::text = ANY ($2::text[]) OR externalkey = ANY ($3::text[] || $2::text[]);

-- name: due
-- Gaps whose senders are to be asked: at most $1, each with its first $2 ranges.
SELECT g.source, g.epoch, g.asked,
       ARRAY(SELECT r FROM unnest(g.noted - g.gone) r LIMIT $2) AS ranges
FROM ledger_gaps g
WHERE g.ask_at <= clock_timestamp() AND (g.source LIKE 'mac:%' OR g.source LIKE 'uuid:%')
ORDER BY g.ask_at LIMIT $1::integer;

-- name: asked
-- Note that senders were asked: arrays of sender, epoch and seconds until they may be asked again (null: not
-- before something that was missing has come). Whoever changes rows of many epochs has his turn by this lock, in
-- whatever order he takes them.
WITH turn AS MATERIALIZED (SELECT 1 AS ours FROM pg_advisory_xact_lock(hashtext('ledger_fold')))
UPDATE ledger_gaps g SET
    asked = g.asked + 1,
    ask_at = coalesce(clock_timestamp() + a.pause_s * interval '1 second', 'infinity')
FROM turn, unnest($1::text[], $2::bigint[], $3::float8[]) AS a (source, epoch, pause_s)
WHERE (g.source, g.epoch) = (a.source, a.epoch);

-- name: answered
-- Note what sender $1 says about epoch $2: sent again $3, gone $4, waiting for their turn $5; ask again in $6
-- seconds. Only what was noted as a gap counts. What it said last goes first, but gone is gone.
UPDATE ledger_gaps g SET
    again = g.noted * (g.again + $3::int8multirange) - $5::int8multirange,
    gone = g.noted * (g.gone + $4::int8multirange),
    waiting = g.noted * (g.waiting + $5::int8multirange) - $3::int8multirange,
    answered_at = clock_timestamp(),
    asked = CASE WHEN g.noted && ($3::int8multirange + $4::int8multirange + $5::int8multirange) THEN 0
                 ELSE g.asked END,
    ask_at = CASE WHEN isempty(g.noted - (g.gone + $4::int8multirange)) THEN NULL
                  ELSE clock_timestamp() + $6::float8 * interval '1 second' END
WHERE (g.source, g.epoch) = ($1::text, $2::bigint)
RETURNING g.asked;

-- name: unconfirmed
-- Epochs stored since their senders were told last, at least $1 seconds ago: at most $2, missing up to $3 ranges.
SELECT e.source, e.epoch, e.highest AS sent, clock_timestamp() AS at,
       ARRAY(SELECT r FROM unnest(ledger_missing(e.received, 1, e.highest)) r LIMIT $3) AS missing
FROM ledger_epochs e
WHERE (e.source LIKE 'mac:%' OR e.source LIKE 'uuid:%') AND e.folded_at > coalesce(e.confirmed_at, '-infinity')
    AND coalesce(e.confirmed_at, e.first_at - interval '1 day') <= clock_timestamp() - $1::float8 * interval '1 second'
    AND e.floor = 1
LIMIT $2::integer;

-- name: confirmed
-- Note that senders were told at $3: arrays of sender and epoch. The turn is that of `asked`.
WITH turn AS MATERIALIZED (SELECT 1 AS ours FROM pg_advisory_xact_lock(hashtext('ledger_fold')))
UPDATE ledger_epochs e SET confirmed_at = $3::timestamptz
FROM turn, unnest($1::text[], $2::bigint[]) AS c (source, epoch) WHERE (e.source, e.epoch) = (c.source, c.epoch);

-- name: receipts_due
-- Senders active from $1 to $2 that have no receipt until $2 yet: at most $3.
SELECT DISTINCT e.source FROM ledger_epochs e
WHERE e.last_at >= $1::timestamptz AND e.first_at < $2::timestamptz
    AND NOT EXISTS (SELECT FROM ledger_receipts r WHERE r.source = e.source AND r.until >= $2::timestamptz)
LIMIT $3::integer;

-- name: last_receipts
-- The newest receipt of each of some senders.
SELECT DISTINCT ON (source) source, body FROM ledger_receipts
WHERE source = ANY ($1::text[]) ORDER BY source, until DESC;

-- name: store_receipts
-- Keep receipts: arrays of sender and body, until $3.
INSERT INTO ledger_receipts (source, until, issued_at, body, send_at)
SELECT r.source, $3::timestamptz, clock_timestamp(), r.body,
       CASE WHEN r.source LIKE 'mac:%' OR r.source LIKE 'uuid:%' THEN clock_timestamp() ELSE 'infinity' END
FROM unnest($1::text[], $2::text[]) AS r (source, body)
ORDER BY r.source
ON CONFLICT DO NOTHING RETURNING source;

-- name: receipts_unsent
-- Receipts that are to go to their senders now: at most $1.
SELECT source, until, body FROM ledger_receipts
WHERE sent_at IS NULL AND send_at <= clock_timestamp() AND send_at < 'infinity'
ORDER BY send_at LIMIT $1::integer;

-- name: receipts_sent
-- Note receipts that the broker took: arrays of sender and time.
WITH theirs AS (
    SELECT r.source, r.until FROM unnest($1::text[], $2::timestamptz[]) AS s (source, until)
    JOIN ledger_receipts r USING (source, until) ORDER BY r.source, r.until FOR NO KEY UPDATE OF r
)
UPDATE ledger_receipts r SET sent_at = clock_timestamp()
FROM theirs s WHERE (r.source, r.until) = (s.source, s.until);

-- name: receipts_refused
-- Try receipts again: arrays of sender, time and seconds from now (null: never).
WITH theirs AS (
    SELECT r.source, r.until, s.pause_s
    FROM unnest($1::text[], $2::timestamptz[], $3::float8[]) AS s (source, until, pause_s)
    JOIN ledger_receipts r USING (source, until) ORDER BY r.source, r.until FOR NO KEY UPDATE OF r
)
UPDATE ledger_receipts r SET send_at = coalesce(clock_timestamp() + s.pause_s * interval '1 second', 'infinity')
FROM theirs s
WHERE (r.source, r.until) = (s.source, s.until);

-- name: receipts
-- Receipts of senders $1 (null: all) until after $2 and at most $3, behind time $4 and sender $5.
SELECT source, until, body FROM ledger_receipts
WHERE ($1::text[] IS NULL OR source = ANY ($1))
    AND ($2::timestamptz IS NULL OR until > $2) AND ($3::timestamptz IS NULL OR until <= $3)
    AND (until, source) > ($4::timestamptz, $5::text)
ORDER BY until, source LIMIT $6::integer;

-- name: forget
-- Drop epochs and receipts that are older than $1. Epochs in the turn of `asked`; of the rest, what somebody is at
-- stays until the next time.
WITH turn AS MATERIALIZED (
    SELECT 1 AS ours FROM pg_advisory_xact_lock(hashtext('ledger_fold'))
), gone AS (
    DELETE FROM ledger_epochs USING turn WHERE last_at < $1::timestamptz RETURNING source, highest, stored, last_at
), receipts AS (
    DELETE FROM ledger_receipts WHERE (source, until) IN (
        SELECT source, until FROM ledger_receipts WHERE until < $1::timestamptz FOR UPDATE SKIP LOCKED)
), stages AS (
    DELETE FROM ledger_stages WHERE (stage, part) IN (
        SELECT stage, part FROM ledger_stages WHERE looked_at < clock_timestamp() - interval '7 days'
        FOR UPDATE SKIP LOCKED)
), backlogs AS (
    DELETE FROM ledger_backlogs WHERE source IN (
        SELECT source FROM ledger_backlogs WHERE asked_at < $1::timestamptz FOR UPDATE SKIP LOCKED)
)
INSERT INTO ledger_dropped AS d (source, reason, epochs, sent, stored, last_at)
SELECT source, 'too_old', count(*), sum(highest), sum(stored), max(last_at) FROM gone GROUP BY source
ON CONFLICT (source, reason) DO UPDATE SET
    epochs = d.epochs + excluded.epochs, sent = d.sent + excluded.sent,
    stored = d.stored + excluded.stored, last_at = greatest(d.last_at, excluded.last_at)
RETURNING source;
