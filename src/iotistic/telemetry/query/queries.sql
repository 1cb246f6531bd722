-- What the query API reads.

-- name: datapoints
-- Datapoints of template $1; with $2 or $3 given, those of that template with these labels, or any with these ids.
SELECT d.id, d.label, d.append AS unit, d.prepend AS prefix, d."offset", d.length, d.dataencoding AS encoding,
       d.byteorder AS byte_order, d.decimals, d.realtimechart AS realtime_chart,
       d.historicalchart AS historical_chart, i.name AS icon
FROM datapoints d
LEFT JOIN datapointicons i ON i.id = d.datapointiconid
WHERE ($2::text[] IS NULL AND $3::integer[] IS NULL AND d.devicetemplateid = $1::integer)
   OR (d.devicetemplateid = $1 AND d.label = ANY ($2))
   OR d.id = ANY ($3)
ORDER BY d.id;

-- name: datapoints_named
-- Ids of the datapoints with these ids ($1) or labels ($2); $3: of the templates of these devices only.
SELECT p.id, p.label
FROM datapoints p
WHERE (p.id = ANY ($1::integer[]) OR p.label = ANY ($2::text[]))
  AND ($3::integer[] IS NULL
       OR p.devicetemplateid IN (SELECT d.devicetemplateid FROM devices d WHERE d.id = ANY ($3))
       OR p.id = ANY ($1));

-- name: device
-- The device that an id ($1), MAC ($2), uuid ($3) or external key ($4) names; in this order when several fit.
SELECT d.id, d.devicename AS name, d.uuid, d.macaddress AS mac, d.externalkey AS external_key,
       d.devicetemplateid AS template_id, t.name AS template, t.model, y.iscontroller AS is_controller,
       d.serialnumber AS serial_number, host(d.ipaddress) AS ip_address, d.pcbversion AS pcb_version,
       d.createdat AS created_at
FROM devices d
JOIN devicetemplates t ON t.id = d.devicetemplateid
JOIN devicetypes y ON y.id = t.devicetypeid
WHERE d.id = $1::integer OR d.macaddress = $2::text OR d.uuid = $3::uuid OR d.externalkey = $4::text
ORDER BY d.id IS NOT DISTINCT FROM $1 DESC, d.macaddress IS NOT DISTINCT FROM $2 DESC,
         d.uuid IS NOT DISTINCT FROM $3 DESC
LIMIT 1;

-- name: devices_existing
-- Which of the ids $1 are devices.
SELECT id FROM devices WHERE id = ANY ($1::integer[]);

-- name: devices_called
-- Ids of devices with the name $1, $2 at most.
SELECT id FROM devices WHERE devicename = $1::text ORDER BY id LIMIT $2::integer;

-- name: devices
-- One page of devices with their template, the number of datapoints they show and the time of the newest reading,
-- which for a controller may be one of a sensor on its pins.
-- $1 text to search, $2 the same without separators, $3 template, $4 seen since; $5 and $6: beyond this key and id.
-- {key}, {type}, {direction} and {beyond} come from a closed list of orders.
SELECT d.id, d.devicename AS name, d.uuid, d.macaddress AS mac, d.externalkey AS external_key,
       t.name AS template, y.iscontroller AS is_controller, d.createdat AS created_at,
       s.last_seen, s.datapoints, {key} AS sort_key
FROM devices d
JOIN devicetemplates t ON t.id = d.devicetemplateid
JOIN devicetypes y ON y.id = t.devicetypeid
CROSS JOIN LATERAL (
    SELECT max(coalesce(r."timestamp", e."timestamp")) AS last_seen,
           count(*) FILTER (WHERE shown.device_id = d.id) AS datapoints
    FROM device_datapoints shown
    LEFT JOIN LATERAL (
        SELECT n."timestamp" FROM decoded_data n
        WHERE n.device_id = shown.device_id AND n.datapoint_id = shown.datapoint_id
        ORDER BY n."timestamp" DESC LIMIT 1
    ) r ON true
    LEFT JOIN LATERAL (
        SELECT n."timestamp" FROM telemetry_events n
        WHERE r."timestamp" IS NULL AND n.device_id = shown.device_id AND n.datapoint_id = shown.datapoint_id
        ORDER BY n."timestamp" DESC LIMIT 1
    ) e ON true
    WHERE shown.device_id = ANY (d.id || ARRAY(
        SELECT p.deviceid FROM connectors c JOIN pins p ON p.connectorid = c.id WHERE c.controllerid = d.id
    ))
) s
WHERE ($1::text IS NULL OR d.devicename ILIKE $1 OR d.externalkey ILIKE $1 OR d.uuid::text ILIKE $1
       OR d.macaddress ILIKE $2::text)
  AND ($3::text IS NULL OR t.name = $3)
  AND ($4::timestamptz IS NULL OR s.last_seen >= $4)
  AND ($5::{type} IS NULL OR ({key}, d.id) {beyond} ($5, $6::integer))
ORDER BY {key} {direction}, d.id {direction}
LIMIT $7::integer;

-- name: events_before
-- The $7 newest text readings of device $1 that come before ($3, $4, $5), from $2 on; $6: these datapoints only.
SELECT e."timestamp", e.datapoint_id, d.label, e.value, e.received_at
FROM telemetry_events e
JOIN datapoints d ON d.id = e.datapoint_id
WHERE e.device_id = $1::integer
  AND e."timestamp" >= $2::timestamptz
  AND e."timestamp" <= $3::timestamptz
  AND (e."timestamp", e.datapoint_id, e.value) < ($3, $4::integer, $5::text)
  AND ($6::integer[] IS NULL OR e.datapoint_id = ANY ($6))
ORDER BY e."timestamp" DESC, e.datapoint_id DESC, e.value DESC
LIMIT $7::integer;

-- name: horizon
-- How far the rollups are exact for one device ($1) in [$2, $3), what retention has dropped, and which
-- minutes and hours wait to be rolled again.
SELECT rolled_until, hours_rolled_until, raw_kept_from, minutes_kept_from,
       ARRAY(SELECT DISTINCT p.minute FROM rollup_pending p
             WHERE p.minute >= $2::timestamptz AND p.minute < least($3::timestamptz, s.rolled_until)
               AND p.device_id IS NULL
             UNION
             SELECT DISTINCT p.minute FROM rollup_pending p
             WHERE p.minute >= $2 AND p.minute < least($3, s.rolled_until) AND p.device_id = $1::integer
            ) AS stale_minutes,
       ARRAY(SELECT h.hour FROM rollup_pending_hours h
             WHERE h.hour >= $2 AND h.hour < least($3, s.hours_rolled_until)
               AND (h.device_id IS NULL OR h.device_id = $1)) AS stale_hours
FROM rollup_state s;

-- name: labels
-- Label and unit of the datapoints $1.
SELECT id, label, append AS unit FROM datapoints WHERE id = ANY ($1::integer[]);

-- name: latest
-- The newest reading of every datapoint that the devices $1 show; a text where a datapoint has no number.
SELECT shown.device_id, p.id AS datapoint_id, p.label, p.append AS unit,
       coalesce(r."timestamp", e."timestamp") AS "timestamp", r.value, e.value AS text,
       coalesce(r.received_at, e.received_at) AS received_at
FROM device_datapoints shown
JOIN datapoints p ON p.id = shown.datapoint_id
LEFT JOIN LATERAL (
    SELECT n."timestamp", n.value, n.received_at FROM decoded_data n
    WHERE n.device_id = shown.device_id AND n.datapoint_id = shown.datapoint_id
    ORDER BY n."timestamp" DESC LIMIT 1
) r ON true
LEFT JOIN LATERAL (
    SELECT n."timestamp", n.value, n.received_at FROM telemetry_events n
    WHERE r."timestamp" IS NULL AND n.device_id = shown.device_id AND n.datapoint_id = shown.datapoint_id
    ORDER BY n."timestamp" DESC, n.value DESC LIMIT 1
) e ON true
WHERE shown.device_id = ANY ($1::integer[]) AND coalesce(r."timestamp", e."timestamp") IS NOT NULL
ORDER BY shown.device_id, p.id;

-- name: pins
-- Connectors and pins of the controller $1, and the pin that the device $1 itself sits on.
SELECT c.controllerid = $1::integer AS is_ours, c.controllerid AS controller_id, c.connectornumber AS connector,
       ct.typename AS connector_type, p."position" AS pin, s.id AS device_id, s.devicename AS device_name,
       t.name AS template
FROM connectors c
LEFT JOIN connectortypes ct ON ct.id = c.connectortypeid
LEFT JOIN pins p ON p.connectorid = c.id
LEFT JOIN devices s ON s.id = p.deviceid
LEFT JOIN devicetemplates t ON t.id = s.devicetemplateid
WHERE c.controllerid = $1 OR p.deviceid = $1
ORDER BY c.connectornumber, p."position";

-- name: readings_after
-- The $6 oldest raw rows of datapoints $2 of device $1 that come after ($3, $4), before $5; oldest first.
SELECT r."timestamp", d.id AS datapoint_id, r.value, r.received_at
FROM unnest($2::integer[]) AS d (id)
CROSS JOIN LATERAL (
    SELECT "timestamp", value, received_at
    FROM decoded_data
    WHERE device_id = $1::integer AND datapoint_id = d.id AND "timestamp" < $5::timestamptz
      AND "timestamp" >= $3::timestamptz AND ("timestamp" > $3 OR d.id > $4::integer)
    ORDER BY "timestamp"
    LIMIT $6::integer
) r
ORDER BY r."timestamp", d.id
LIMIT $6;

-- name: readings_before
-- The $6 newest raw rows of datapoints $2 of device $1 that come before ($4, $5), from $3 on; newest first.
SELECT r."timestamp", d.id AS datapoint_id, r.value, r.received_at
FROM unnest($2::integer[]) AS d (id)
CROSS JOIN LATERAL (
    SELECT "timestamp", value, received_at
    FROM decoded_data
    WHERE device_id = $1::integer AND datapoint_id = d.id AND "timestamp" >= $3::timestamptz
      AND "timestamp" <= $4::timestamptz AND ("timestamp" < $4 OR d.id < $5::integer)
    ORDER BY "timestamp" DESC
    LIMIT $6::integer
) r
ORDER BY r."timestamp" DESC, d.id DESC
LIMIT $6;

-- name: series
-- Buckets of width $3 for datapoints $2 of device $1. Every instant of the range comes from exactly one place:
-- hours [$4, $5) less the stale ones ($10); minutes [$6, $7) and those of stale hours, less the stale ones ($11);
-- raw rows [$8, $9) and those of stale minutes. An unused place has an empty range. {mean} is the fast or the safe one.
WITH part AS (
    SELECT datapoint_id, bucket AS at, min, max, avg, count
    FROM decoded_1h
    WHERE device_id = $1::integer AND datapoint_id = ANY ($2::integer[])
      AND bucket >= $4::timestamptz AND bucket < $5::timestamptz AND bucket <> ALL ($10::timestamptz[])
    UNION ALL
    SELECT datapoint_id, bucket, min, max, avg, count
    FROM decoded_1m
    WHERE device_id = $1 AND datapoint_id = ANY ($2)
      AND bucket >= $6::timestamptz AND bucket < $7::timestamptz AND bucket <> ALL ($11::timestamptz[])
    UNION ALL
    SELECT m.datapoint_id, m.bucket, m.min, m.max, m.avg, m.count
    FROM unnest($10) AS stale (hour)
    JOIN decoded_1m m ON m.bucket >= stale.hour AND m.bucket < stale.hour + interval '1 hour'
    WHERE m.device_id = $1 AND m.datapoint_id = ANY ($2) AND m.bucket <> ALL ($11)
    UNION ALL
    SELECT datapoint_id, "timestamp", value, value, value, 1
    FROM decoded_data
    WHERE device_id = $1 AND datapoint_id = ANY ($2)
      AND "timestamp" >= $8::timestamptz AND "timestamp" < $9::timestamptz
    UNION ALL
    SELECT r.datapoint_id, r."timestamp", r.value, r.value, r.value, 1
    FROM unnest($11) AS stale (minute)
    JOIN decoded_data r ON r."timestamp" >= stale.minute AND r."timestamp" < stale.minute + interval '1 minute'
    WHERE r.device_id = $1 AND r.datapoint_id = ANY ($2)
)
SELECT datapoint_id,
       date_bin($3::interval, at, to_timestamp(0)) AS start,
       min(min) AS min,
       max(max) AS max,
       {mean} AS avg,
       sum(count)::bigint AS count
FROM part
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: shown_datapoints
-- Datapoints that the device $1 shows, with label and unit.
SELECT p.id, p.label, p.append AS unit
FROM device_datapoints shown JOIN datapoints p ON p.id = shown.datapoint_id
WHERE shown.device_id = $1::integer
ORDER BY p.id;

-- name: stats
-- Devices, open dead letters (counted up to 100,001), and an estimate of the rows stored: the statistics of the
-- partitions, which follow the truth within a minute or so and are unknown after a crash until the next analyze.
SELECT (SELECT count(*) FROM devices) AS devices,
       (SELECT count(*) FROM (SELECT FROM dead_letters WHERE replayed_at IS NULL LIMIT 100001) o) AS dead_letters_open,
       estimated_rows('decoded_data') AS rows_estimate,
       (SELECT to_char(min(lower_bound) AT TIME ZONE 'UTC', 'YYYYMMDD')
        FROM partitions_of('decoded_data')) AS oldest_day;
