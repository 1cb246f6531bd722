-- The delivery ledger: fold, look, ask, tell.

-- name: fold
-- Add up to $1 batches that sinks noted to the epochs; $2 false: not while somebody else does.
SELECT ledger_fold($1::integer, $2::boolean) AS folded;

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
       coalesce(sum(healed + coalesce((SELECT ledger_count(g.noted * e.received) FROM ledger_gaps g
                                       WHERE (g.source, g.epoch) = (e.source, e.epoch)), 0)), 0) AS healed
FROM ledger_epochs e
WHERE ($1::text[] IS NULL OR source = ANY ($1))
    AND ($2::timestamptz IS NULL OR last_at >= $2) AND ($3::timestamptz IS NULL OR first_at < $3)
    AND (NOT $4::boolean OR highest > stored);

-- name: page
-- Epochs of the same selection behind sender $5, epoch $6; missing ranges by stage, at most $8 of each.
SELECT e.source, e.epoch, e.highest AS sent, e.stored, e.highest - e.stored AS missing,
       e.messages - e.stored - e.untold AS duplicates, e.untold, e.floor,
       e.healed + coalesce(ledger_count(g.noted * e.received), 0) AS healed,
       e.first_at, e.last_at, coalesce(g.asked, 0) AS asked,
       bounded.on_the_way, bounded.unanswered, bounded.pipeline, bounded.device
FROM ledger_epochs e
LEFT JOIN ledger_gaps g USING (source, epoch)
CROSS JOIN LATERAL (SELECT ledger_missing(e.received, e.floor, e.highest) AS missing) m
CROSS JOIN LATERAL (SELECT m.missing * coalesce(g.gone, '{}') AS device,
                           m.missing * coalesce(g.again, '{}') - coalesce(g.gone, '{}') AS pipeline,
                           m.missing * coalesce(g.noted, '{}') - coalesce(g.again + g.gone, '{}') AS unanswered,
                           m.missing - coalesce(g.noted + g.again + g.gone, '{}') AS on_the_way) s
CROSS JOIN LATERAL (SELECT ARRAY(SELECT r FROM unnest(s.on_the_way) r LIMIT $8) AS on_the_way,
                           ARRAY(SELECT r FROM unnest(s.unanswered) r LIMIT $8) AS unanswered,
                           ARRAY(SELECT r FROM unnest(s.pipeline) r LIMIT $8) AS pipeline,
                           ARRAY(SELECT r FROM unnest(s.device) r LIMIT $8) AS device) bounded
WHERE ($1::text[] IS NULL OR e.source = ANY ($1))
    AND ($2::timestamptz IS NULL OR e.last_at >= $2) AND ($3::timestamptz IS NULL OR e.first_at < $3)
    AND (NOT $4::boolean OR e.highest > e.stored)
    AND (e.source, e.epoch) > ($5::text, $6::bigint)
ORDER BY e.source, e.epoch LIMIT $7::integer;

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
WHERE g.ask_at <= clock_timestamp() AND g.source LIKE 'mac:%'
ORDER BY g.ask_at LIMIT $1::integer;

-- name: asked
-- Note that senders were asked: arrays of sender, epoch and seconds until they may be asked again (null: not
-- before something that was missing has come).
UPDATE ledger_gaps g SET
    asked = g.asked + 1,
    ask_at = coalesce(clock_timestamp() + a.pause_s * interval '1 second', 'infinity')
FROM unnest($1::text[], $2::bigint[], $3::float8[]) AS a (source, epoch, pause_s)
WHERE (g.source, g.epoch) = (a.source, a.epoch);

-- name: answered
-- Note what sender $1 says about epoch $2: sent again $3, gone $4. Only what was noted as a gap counts.
UPDATE ledger_gaps g SET
    again = g.noted * (g.again + $3::int8multirange), gone = g.noted * (g.gone + $4::int8multirange),
    asked = CASE WHEN g.noted && ($3::int8multirange + $4::int8multirange) THEN 0 ELSE g.asked END,
    ask_at = CASE WHEN isempty(g.noted - (g.gone + $4::int8multirange)) THEN NULL
                  ELSE clock_timestamp() + $5::float8 * interval '1 second' END
WHERE (g.source, g.epoch) = ($1::text, $2::bigint)
RETURNING g.asked;

-- name: unconfirmed
-- Epochs stored since their senders were told last, at least $1 seconds ago: at most $2, missing up to $3 ranges.
SELECT e.source, e.epoch, e.highest AS sent, clock_timestamp() AS at,
       ARRAY(SELECT r FROM unnest(ledger_missing(e.received, 1, e.highest)) r LIMIT $3) AS missing
FROM ledger_epochs e
WHERE e.source LIKE 'mac:%' AND e.folded_at > coalesce(e.confirmed_at, '-infinity')
    AND coalesce(e.confirmed_at, e.first_at - interval '1 day') <= clock_timestamp() - $1::float8 * interval '1 second'
    AND e.floor = 1
LIMIT $2::integer;

-- name: confirmed
-- Note that senders were told at $3: arrays of sender and epoch.
UPDATE ledger_epochs e SET confirmed_at = $3::timestamptz
FROM unnest($1::text[], $2::bigint[]) AS c (source, epoch) WHERE (e.source, e.epoch) = (c.source, c.epoch);

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
INSERT INTO ledger_receipts (source, until, issued_at, body)
SELECT r.source, $3::timestamptz, clock_timestamp(), r.body FROM unnest($1::text[], $2::text[]) AS r (source, body)
ON CONFLICT DO NOTHING RETURNING source;

-- name: receipts
-- Receipts of senders $1 (null: all) until after $2 and at most $3, behind time $4 and sender $5.
SELECT source, until, body FROM ledger_receipts
WHERE ($1::text[] IS NULL OR source = ANY ($1))
    AND ($2::timestamptz IS NULL OR until > $2) AND ($3::timestamptz IS NULL OR until <= $3)
    AND (until, source) > ($4::timestamptz, $5::text)
ORDER BY until, source LIMIT $6::integer;

-- name: forget
-- Drop epochs and receipts that are older than $1.
WITH gone AS (
    DELETE FROM ledger_epochs WHERE last_at < $1::timestamptz RETURNING source, highest, stored, last_at
), receipts AS (
    DELETE FROM ledger_receipts WHERE until < $1::timestamptz
)
INSERT INTO ledger_dropped AS d (source, reason, epochs, sent, stored, last_at)
SELECT source, 'too_old', count(*), sum(highest), sum(stored), max(last_at) FROM gone GROUP BY source
ON CONFLICT (source, reason) DO UPDATE SET
    epochs = d.epochs + excluded.epochs, sent = d.sent + excluded.sent,
    stored = d.stored + excluded.stored, last_at = greatest(d.last_at, excluded.last_at)
RETURNING source;
