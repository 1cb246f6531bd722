-- name: make_staging
-- Where a batch lands before it is merged; it lives as long as the connection and empties at each commit.
CREATE TEMPORARY TABLE IF NOT EXISTS staging (
    "timestamp" timestamptz, device_id integer, datapoint_id integer, value double precision,
    received_at timestamptz
) ON COMMIT DELETE ROWS;

-- name: staged_after
-- Microseconds before the time of receipt from which on readings are staged as late; null: none is.
SELECT (extract(epoch FROM staged_after) * 1000000)::bigint FROM readings_store;

-- name: merge_staging
-- Store the staged rows; rows that are there already (a batch sent twice) change nothing.
INSERT INTO decoded_data ("timestamp", device_id, datapoint_id, value, received_at)
SELECT "timestamp", device_id, datapoint_id, value, received_at FROM staging
ON CONFLICT DO NOTHING;

-- name: store_events
-- Store text readings: arrays of microseconds, device, datapoint and text. In one order, so that two who store the
-- same messages wait for each other and never in a circle.
INSERT INTO telemetry_events ("timestamp", device_id, datapoint_id, value, received_at)
SELECT timestamptz 'epoch' + e.time_us * interval '1 microsecond', e.device_id, e.datapoint_id, e.value, $5
FROM unnest($1::bigint[], $2::int[], $3::int[], $4::text[]) AS e (time_us, device_id, datapoint_id, value)
ORDER BY e.device_id, e.datapoint_id, e.time_us, e.value
ON CONFLICT DO NOTHING;

-- name: mark_rollups
-- Note minutes whose rollup is out of date: arrays of microseconds and device (NULL: all of that minute).
INSERT INTO rollup_pending (minute, device_id)
SELECT timestamptz 'epoch' + m.minute_us * interval '1 microsecond', m.device_id
FROM unnest($1::bigint[], $2::int[]) AS m (minute_us, device_id);

-- name: store_dead_letters
-- Keep messages that gave no reading: arrays of topic, payload, reason, detail and source. A letter whose
-- source is there already was kept before. In one order, as text readings.
INSERT INTO dead_letters (received_at, topic, payload, reason, detail, source)
SELECT $6, d.topic, d.payload, d.reason, d.detail, d.source
FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
    AS d (topic, payload, reason, detail, source, place)
ORDER BY d.source, d.place
ON CONFLICT (source) WHERE source IS NOT NULL DO NOTHING;

-- name: note_runs
-- Add a batch to the ledger's log: microseconds of receipt, and arrays as text: senders, epochs, first and last
-- numbers, and how many came again.
INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)
SELECT timestamptz 'epoch' + $1::bigint * interval '1 microsecond', $2::text::text[],
       $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::integer[];

-- name: mark_and_note
-- Both of the above in one: the arrays of mark_rollups, then what note_runs takes.
WITH marked AS (
    INSERT INTO rollup_pending (minute, device_id)
    SELECT timestamptz 'epoch' + m.minute_us * interval '1 microsecond', m.device_id
    FROM unnest($1::bigint[], $2::int[]) AS m (minute_us, device_id)
)
INSERT INTO ledger_log (received_at, source, epoch, first, last, repeated)
SELECT timestamptz 'epoch' + $3::bigint * interval '1 microsecond', $4::text::text[],
       $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::text::integer[];

-- name: ensure_partitions
-- Make the partitions of some days.
SELECT ensure_partitions($1::date[]);
