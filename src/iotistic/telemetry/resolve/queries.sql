-- name: devices
-- Find devices by any of the three ways a message names them.
SELECT id, devicetemplateid, macaddress, uuid::text AS uuid, externalkey
FROM devices
WHERE macaddress = ANY ($1::text[]) OR uuid = ANY ($2::uuid[]) OR externalkey = ANY ($3::text[]);

-- name: pins
-- Find which sensor device sits on each pin of some controllers.
SELECT c.controllerid, c.connectornumber, p."position", p.deviceid, d.devicetemplateid
FROM connectors c
JOIN pins p ON p.connectorid = c.id
JOIN devices d ON d.id = p.deviceid
WHERE c.controllerid = ANY ($1::int[]);

-- name: datapoints
-- Find datapoints of some templates: all that are read from a frame, and those with the labels asked for.
SELECT id, devicetemplateid, label, "offset", length, dataencoding, byteorder, decimals
FROM datapoints
WHERE devicetemplateid = ANY ($1::int[]) AND ("offset" IS NOT NULL OR label = ANY ($2::text[]))
ORDER BY "offset", id;

-- name: adopt_lock
-- One adoption at a time, so that two workers cannot register the same sensor twice; taken before anything else
-- is locked.
SELECT pg_advisory_xact_lock(hashtext('telemetry.adopt'));

-- name: adopt_devices
-- Register devices that nobody knows; arrays of name, mac, uuid and key (NULL where it has none).
INSERT INTO devices (devicename, devicetemplateid, macaddress, uuid, externalkey)
SELECT n.devicename, t.id, n.macaddress, COALESCE(n.uuid, gen_random_uuid()), n.externalkey
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[])
    AS n (devicename, macaddress, uuid, externalkey, template)
JOIN devicetemplates t ON t.name = n.template
ON CONFLICT DO NOTHING;

-- name: adopt_connectors
-- Register connectors of controllers.
INSERT INTO connectors (controllerid, connectornumber, connectortypeid)
SELECT n.controllerid, n.connectornumber, t.id
FROM unnest($1::int[], $2::int[]) AS n (controllerid, connectornumber)
JOIN connectortypes t ON t.typename = 'sensor'
ON CONFLICT DO NOTHING;

-- name: adopt_sensor
-- Register a sensor device on a free pin: controller, connector, position, name, template.
WITH sensor AS (
    INSERT INTO devices (devicename, devicetemplateid)
    SELECT $4, t.id FROM devicetemplates t
    WHERE t.name = $5 AND NOT EXISTS (
        SELECT FROM pins p JOIN connectors c ON c.id = p.connectorid
        WHERE c.controllerid = $1 AND c.connectornumber = $2 AND p."position" = $3)
    RETURNING id
)
INSERT INTO pins (connectorid, "position", deviceid)
SELECT c.id, $3, sensor.id
FROM sensor JOIN connectors c ON c.controllerid = $1 AND c.connectornumber = $2;

-- name: adopt_datapoints
-- Add labels to templates: arrays of template, label and unit.
INSERT INTO datapoints (devicetemplateid, label, append)
SELECT * FROM unnest($1::int[], $2::text[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: note_series
-- Note which datapoints devices show: arrays of device and datapoint.
INSERT INTO device_datapoints (device_id, datapoint_id)
SELECT * FROM unnest($1::int[], $2::int[])
ON CONFLICT DO NOTHING;

-- name: generation
-- Name the state that the metadata is in, and say how many rows that takes.
SELECT sum(mark)::text AS generation, count(*) AS marks FROM metadata_marks;

-- name: fold_marks
-- Make one row of all marks, with the same sum.
WITH folded AS (DELETE FROM metadata_marks RETURNING mark)
INSERT INTO metadata_marks (mark) SELECT sum(mark) FROM folded HAVING count(*) > 0;
