-- Controlled changes of metadata. Triggers tell the caches (channel metadata_changed).

-- name: template_named
-- The template with the id $1 or the name $2.
SELECT t.id, t.name, t.model, y.typename AS type, y.iscontroller AS is_controller
FROM devicetemplates t JOIN devicetypes y ON y.id = t.devicetypeid
WHERE t.id = $1::integer OR t.name = $2::text
ORDER BY t.id IS NOT DISTINCT FROM $1 DESC LIMIT 1;

-- name: templates
-- All templates, with the number of devices of each.
SELECT t.id, t.name, t.model, y.typename AS type, y.iscontroller AS is_controller,
       (SELECT count(*) FROM devices d WHERE d.devicetemplateid = t.id) AS devices
FROM devicetemplates t JOIN devicetypes y ON y.id = t.devicetypeid
ORDER BY t.id;

-- name: types
-- Names of device types.
SELECT typename FROM devicetypes ORDER BY id;

-- name: add_template
-- Register a template: name, model, type; no row when the name is taken.
INSERT INTO devicetemplates (name, model, devicetypeid)
SELECT $1::text, $2::text, y.id FROM devicetypes y WHERE y.typename = $3::text
ON CONFLICT (name) DO NOTHING
RETURNING id;

-- name: add_device
-- Register a device: name, template, MAC, external key, serial number; no row when one of its names is taken.
INSERT INTO devices (devicename, devicetemplateid, macaddress, externalkey, serialnumber)
VALUES ($1::text, $2::integer, $3::text, $4::text, $5::text)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: change_device
-- Change the device $1: name ($2) and template ($3), where given.
UPDATE devices
SET devicename = coalesce($2::text, devicename), devicetemplateid = coalesce($3::integer, devicetemplateid)
WHERE id = $1::integer
RETURNING id;

-- name: lock_template
-- One change of the datapoints of template $1 at a time. Whoever only refers to the template goes on meanwhile.
SELECT id FROM devicetemplates WHERE id = $1::integer FOR NO KEY UPDATE;

-- name: set_datapoint
-- Add a datapoint to template $1, or change the one with this label; its id, and so its history, stays.
INSERT INTO datapoints (devicetemplateid, label, "offset", length, dataencoding, byteorder, decimals, prepend, append,
                        realtimechart, historicalchart, datapointiconid)
VALUES ($1::integer, $2::text, $3::integer, $4::integer, $5::text, $6::text, $7::integer, $8::text, $9::text,
        $10::boolean, $11::boolean, (SELECT id FROM datapointicons WHERE name = $12::text))
ON CONFLICT (devicetemplateid, label) DO UPDATE
SET "offset" = excluded."offset", length = excluded.length, dataencoding = excluded.dataencoding,
    byteorder = excluded.byteorder, decimals = excluded.decimals, prepend = excluded.prepend,
    append = excluded.append, realtimechart = excluded.realtimechart,
    historicalchart = excluded.historicalchart, datapointiconid = excluded.datapointiconid
RETURNING id;

-- name: dropped_datapoints
-- Datapoints of template $1 that are not among the labels $2, and whether any device has shown them.
SELECT p.id, p.label, EXISTS (SELECT FROM device_datapoints s WHERE s.datapoint_id = p.id) AS is_shown
FROM datapoints p
WHERE p.devicetemplateid = $1::integer AND p.label <> ALL ($2::text[])
ORDER BY p.id;

-- name: delete_datapoints
-- Delete datapoints that nobody has shown: in the order in which the ingest workers refer to them.
WITH doomed AS (SELECT id FROM datapoints WHERE id = ANY ($1::integer[]) ORDER BY id FOR UPDATE)
DELETE FROM datapoints p USING doomed WHERE p.id = doomed.id RETURNING p.id;

-- name: icons
-- Names of icons.
SELECT name FROM datapointicons ORDER BY id;

-- name: lock_adoption
-- The ingest workers register sensors and labels under this lock too, so that a pin gets one sensor only, and
-- nobody waits for a label of ours while we wait for one of his.
SELECT pg_advisory_xact_lock(hashtext('telemetry.adopt'));

-- name: ensure_connector
-- Register connector $2 of controller $1 unless it is there.
INSERT INTO connectors (controllerid, connectornumber, connectortypeid)
SELECT $1::integer, $2::integer, t.id FROM connectortypes t WHERE t.typename = 'sensor'
ON CONFLICT (controllerid, connectornumber) DO NOTHING;

-- name: sensor_on_pin
-- The sensor device on pin $3 of connector $2 of controller $1.
SELECT p.deviceid AS device_id
FROM connectors c JOIN pins p ON p.connectorid = c.id
WHERE c.controllerid = $1::integer AND c.connectornumber = $2::integer AND p."position" = $3::integer;

-- name: set_pin
-- Put the sensor device $4 on pin $3 of connector $2 of controller $1.
INSERT INTO pins (connectorid, "position", deviceid)
SELECT c.id, $3::integer, $4::integer FROM connectors c
WHERE c.controllerid = $1::integer AND c.connectornumber = $2::integer;
